"""An import that is killed before each of its statements in turn: `python -m tests.operations.dying_import FOLDER`.

After each kill the same bill is imported again by the next process. One line of JSON a kill.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.operations.bills.test_keep import draft, line
from tests.processes.kills import Doom, append, doomed, ended, in_child, lines, settings_of

from tallygate.app import App, compose
from tallygate.ledger.audit.audit import audit
from tallygate.operations.bills import keep


def counted(app: App) -> list[int]:
    with app.runtime.services.ledger.reading() as reader:
        return [each.line.number for each in reader.billed_between(0, 10**18)]


def one_kill(folder: Path, before: int) -> dict[str, object]:
    """An import killed before its n-th statement, and what the next process finds and does."""
    folder.mkdir(mode=0o700, parents=True)
    settings, last = settings_of(folder), folder / "last"
    bill = draft("killed", *(line(number) for number in range(1, 8)))
    app = compose(settings, by="first")
    keep.keep_bill(app.runtime, draft("earlier", line(7)))
    app.close()

    def work() -> None:
        doom = Doom(before, last)
        with doomed(doom):
            app = compose(settings, by="doomed")
            keep.keep_bill(app.runtime, bill)
            app.close()
        append(last, f"{doom.count}")

    code = ended(in_child(work))
    app = compose(settings, by="next")
    report: dict[str, object] = {"n": before, "code": code, "before": lines(last)[-1]}
    report["counted"], report["findings"] = counted(app), [str(each) for each in audit(app.ledger)]
    report["fresh"] = keep.keep_bill(app.runtime, bill).fresh
    report["again"], report["findings_again"] = counted(app), [str(each) for each in audit(app.ledger)]
    with app.runtime.services.ledger.reading() as reader:
        report["unfinished"] = len(reader.unfinished_bills())
    app.close()
    return report


def main(folder: Path) -> None:
    keep.LINES_AT_ONCE, keep.LINES_PER_EVENT = 3, 2
    whole = one_kill(folder / "whole", 0)
    print(json.dumps(whole), flush=True)
    for before in range(1, int(str(whole["before"])) + 1):
        print(json.dumps(one_kill(folder / str(before), before)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
