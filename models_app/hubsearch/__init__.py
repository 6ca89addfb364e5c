"""What hubs have: repos that match words, the quantizations of one, the files of one."""
