from models_app.models import Scan, ScanState
from servers_app.figures import span


def words_of(scan: Scan) -> str:
    """Return what a scan came to, as a sentence without its end."""
    if scan.state != ScanState.FINISHED:
        return str(scan.get_state_display()).lower()
    counted = (
        (scan.added, "new"),
        (scan.updated, "changed"),
        (scan.missing, "missing"),
        (scan.skipped, "skipped"),
    )
    news = ", ".join(f"{count:,} {word}" for count, word in counted if count)
    models = scan.added + scan.updated + scan.unchanged
    found = f"{models:,} model{'' if models == 1 else 's'}"
    took = f" in {span(scan.seconds)}" if scan.seconds is not None else ""
    return f"{found}{took}: {news or 'nothing has changed'}"
