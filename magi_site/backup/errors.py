"""Errors of backup and restore.

BackupError
├── ArchiveError         the file is no archive of ours, is damaged, or is hostile
├── VersionError         the archive and this MAGI do not go together
├── NotEmptyError        the database has rows, and nobody said that they may go
└── AtWorkError          MAGI runs over the database that is to be replaced
"""


class BackupError(Exception):
    """A backup or a restore came to nothing; the message says why, and what to do."""


class ArchiveError(BackupError):
    pass


class VersionError(BackupError):
    pass


class NotEmptyError(BackupError):
    pass


class AtWorkError(BackupError):
    pass
