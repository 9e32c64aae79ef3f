"""Put Tallygate into clients and take it out again: plan every file first, write afterwards, undo what fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import field, replace
from pathlib import Path

from tallygate import files
from tallygate.clients.client import Client, InstallScope, InstallSurroundings
from tallygate.core.authority import Authority, Loosening
from tallygate.core.errors import InvalidArgument
from tallygate.core.values import value
from tallygate.editing import documents
from tallygate.editing.edits import Edit, FileEdits, Whole
from tallygate.editing.manifest import Manifest, Record, digest

_SHARED, _PRIVATE = 0o644, 0o600


@value(frozen=True, slots=True)
class FileChange:
    """What becomes of one file; None stands for no file."""

    path: Path
    found: files.FileContent
    after: bytes | None
    shared: bool = False

    @property
    def mode(self) -> int:
        """The file's own mode; a new one is the user's alone, but for those of a project."""
        return self.found.mode or (_SHARED if self.shared else _PRIVATE)

    @property
    def is_change(self) -> bool:
        return self.after != self.found.content

    @property
    def word(self) -> str:
        """What is done, in one word."""
        if not self.is_change:
            return "unchanged"
        if self.found.content is None:
            return "created"
        return "removed" if self.after is None else "changed"


@value(slots=True)
class Plan:
    """Everything that is going to be done, in order; nothing was done yet."""

    changes: list[FileChange] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    records: dict[str, Record] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)
    originals: dict[str, bytes] = field(default_factory=dict)
    aside: list[tuple[Path, bytes]] = field(default_factory=list)

    @property
    def changed(self) -> list[FileChange]:
        return [change for change in self.changes if change.is_change]

    def keep(self, content: bytes) -> str:
        """Have a copy of bytes put aside; answers with the name it will have."""
        name = digest(content)
        self.originals[name] = content
        return name

    def note(self, title: str, text: str) -> None:
        """Something the user should know, once."""
        if (title, text) not in self.notes:
            self.notes.append((title, text))


def detected(clients: Iterable[Client], where: InstallSurroundings, on_path: Callable[[str], bool]) -> list[Client]:
    """The clients that are on this machine, by their files or their programs."""
    return [client for client in clients if client.is_here(where) or any(on_path(name) for name in client.binaries)]


def told_apart(
    clients: Iterable[Client], plan: Callable[[Sequence[Client]], object]
) -> tuple[list[Client], list[tuple[Client, InvalidArgument]]]:
    """The clients that can be planned for, and those of which a file keeps that from being done, with why.

    A client is dealt with as a whole or not at all. Where none is left, the error of the first one is raised.
    """
    sound, broken = [], []
    for client in clients:
        try:
            plan([client])
        except InvalidArgument as error:
            broken.append((client, error))
        else:
            sound.append(client)
    if broken and not sound:
        raise broken[0][1]
    return sound, broken


def plan_install(
    clients: Sequence[Client],
    where: InstallSurroundings,
    scope: InstallScope,
    manifest: Manifest,
    extra: Sequence[FileEdits] = (),
    *,
    places: bytes | None = None,
) -> Plan:
    """What an installation would change. Raises where a file cannot be read or edited; then nothing is planned.

    `places` is what the file is to hold that installed commands name: written before any of them is.
    """
    plan = Plan(records=deepcopy(manifest.records))
    inside = where.root if scope is InstallScope.PROJECT else None
    wanted = [(client.name, client.title, client.wanted(where, scope)) for client in clients]
    listed = [(name, title, file) for name, title, installation in wanted for file in installation.files]
    listed += [("", "Tallygate", file) for file in extra]
    for _, title, installation in wanted:
        for text in installation.notes:
            plan.note(title, text)
    _say_twice(plan, clients, where, scope)
    done: dict[Path, FileChange] = {}
    for name, title, file in listed:
        found = files.read_file(file.path, inside)
        earlier = done.get(found.target)
        now = found.content if earlier is None else earlier.after
        record = plan.records.get(str(found.target)) if now is not None else None
        after, state, notes = documents.put_in(file.path, now, file.edits, record.state if record else {})
        for text in notes:
            plan.note(title, f"{file.path}: {text}")
        if after is None:
            continue
        done[found.target] = FileChange(file.path, found if earlier is None else earlier.found, after, file.shared)
        if after != now or record is not None:
            owner = [name] if name else []
            root = str(where.project) if scope is InstallScope.PROJECT else None
            fresh = Record(str(found.target), documents.kind_of(file.edits), scope.value, root, owner, None, "")
            known = record or fresh
            owners = [*known.owners, *(each for each in owner if each not in known.owners)]
            original = _original(plan, known, file.edits, now)
            plan.records[known.target] = replace(
                known, owners=owners, original=original, written=digest(after), state=state
            )
    plan.changes = list(done.values())
    if places is not None:
        listed_in = Path(where.places)
        plan.changes.insert(0, FileChange(listed_in, files.read_file(listed_in), places))
    for change in plan.changed:
        files.writable(change.found.target)
    return plan


def _say_twice(plan: Plan, clients: Sequence[Client], where: InstallSurroundings, scope: InstallScope) -> None:
    """A client that is installed for all work and for a project runs each hook twice; so does one with a package."""
    for client in clients:
        if (package := client.doubled(where)) is not None:
            plan.note(client.title, f"{package.what}. {package.to_do}")
        for record in plan.records.values():
            other = record.scope != scope.value and (
                scope is InstallScope.USER or record.root in {None, str(where.root)}
            )
            if client.name in record.owners and other:
                place = "all your work" if record.root is None else record.root
                plan.note(client.title, f"{client.title} is installed for {place}, too, and would run its hooks twice.")


def _original(plan: Plan, record: Record, wanted: Sequence[Edit], before: bytes | None) -> str | None:
    """The name of the copy that an uninstallation brings back; None where that is no file."""
    if before is None:
        return None
    if not record.written:
        return plan.keep(before)
    if digest(before) == record.written:
        return record.original
    # The user has edited it since: what will be brought back is their file without our entries.
    left = documents.take_out(Path(record.target), record.kind, before, wanted, record.state)
    return plan.keep(left) if left or record.original is not None else None


def plan_uninstall(
    clients: Sequence[Client], where: InstallSurroundings, scopes: Sequence[InstallScope], manifest: Manifest
) -> Plan:
    """What taking Tallygate out of these clients would change."""
    plan = Plan(records=deepcopy(manifest.records))
    names = {client.name for client in clients}
    seen: set[str] = set()
    for record in list(plan.records.values()):
        if not _meant(record, scopes, where):
            continue
        left = [owner for owner in record.owners if owner not in names]
        seen.add(record.target)
        if record.owners and left:
            plan.records[record.target] = replace(record, owners=left)
        elif record.owners:
            _undo(plan, record, manifest)
    _forget_settings(plan, scopes, where, manifest)
    for client in clients:
        for scope in scopes:
            if scope is InstallScope.PROJECT and where.project is None:
                continue
            for file in client.wanted(where, scope).files:
                _clear(plan, file, seen, where.root if scope is InstallScope.PROJECT else None)
    if not any(record.owners for record in plan.records.values()) and Path(where.places).exists():
        plan.changes.append(FileChange(Path(where.places), files.read_file(Path(where.places)), None))
    roots = {record.root for record in plan.records.values() if record.root and names.intersection(record.owners)}
    for root in sorted(roots):
        plan.note("Tallygate", f"{root} has it still: run tallygate uninstall there.")
    for change in plan.changed:
        files.writable(change.found.target)
    return plan


def _meant(record: Record, scopes: Sequence[InstallScope], where: InstallSurroundings) -> bool:
    if record.scope not in scopes:
        return False
    return record.scope == InstallScope.USER.value or record.root == str(where.project)


def _undo(plan: Plan, record: Record, manifest: Manifest) -> None:
    """Plan to bring one file back; its record goes with it."""
    del plan.records[record.target]
    path = Path(record.target)
    inside = Path(record.root) if record.root is not None else None
    found = files.read_file(path, inside)
    plan.folders += [Path(folder) for folder in record.folders if Path(folder) not in plan.folders]
    if found.content is None:
        return
    after: bytes | None
    if digest(found.content) == record.written:
        kept = None if record.original is None else manifest.kept(record.original)
        if record.original is None or kept is not None:
            plan.changes.append(FileChange(path, found, kept))
            return
        plan.note("Tallygate", f"{path}: the copy from before is gone or damaged; only our entries were taken out.")
    after = documents.take_out(path, record.kind, found.content, (), record.state)
    if record.kind == "whole":
        plan.aside.append((path, found.content))
        plan.note("Tallygate", f"{path} was edited since; a copy stays in {manifest.aside_folder}.")
    if record.kind == "whole" or (not after and record.original is None):
        after = None
    plan.changes.append(FileChange(path, found, after))


def _forget_settings(
    plan: Plan, scopes: Sequence[InstallScope], where: InstallSurroundings, manifest: Manifest
) -> None:
    """The starting budget goes when nobody is left who works by it, and only as it was written."""
    for record in list(plan.records.values()):
        if record.owners or not _meant(record, scopes, where):
            continue
        # The user's own file is that of every project, too.
        theirs = [each for each in plan.records.values() if each.owners]
        if any(record.root is None or each.root == record.root for each in theirs):
            continue
        found = files.read_file(Path(record.target))
        if found.content is not None and digest(found.content) == record.written:
            _undo(plan, record, manifest)
            continue
        del plan.records[record.target]
        if found.content is not None:
            plan.note("Tallygate", f"{record.target} was edited since; it stays.")


def _clear(plan: Plan, file: FileEdits, seen: set[str], inside: Path | None) -> None:
    """Take out what is there without a record: of another machine, or of a lost one."""
    found = files.read_file(file.path, inside)
    if found.content is None or str(found.target) in seen:
        return
    seen.add(str(found.target))
    kind = documents.kind_of(file.edits)
    after: bytes | None = documents.take_out(file.path, kind, found.content, file.edits, {})
    if after == found.content:
        return
    if not after and any(isinstance(edit, Whole) for edit in file.edits):
        after = None
    plan.changes.append(FileChange(file.path, found, after))


def carry_out(plan: Plan, manifest: Manifest, authority: Authority, what: Loosening = Loosening.INIT) -> None:
    """Do what was planned, for the user. Where a write fails, everything is put back, and the error is raised."""
    authority.require(what)
    earlier = manifest.records
    done: list[FileChange] = []
    made: list[Path] = []
    try:
        _check_unchanged(plan)
        for content in plan.originals.values():
            manifest.keep(content)
        for path, content in plan.aside:
            manifest.put_aside(path, content)
        # Written before the files are: whatever happens now, uninstall knows what it may find.
        manifest.records = plan.records
        manifest.save()
        for change in plan.changed:
            made += _write(change, plan.records)
            done.append(change)
        if made:
            manifest.save()
    except BaseException as error:
        _put_back(done, made)
        manifest.records = earlier
        with suppress(OSError):
            manifest.save()
        if not isinstance(error, OSError):
            raise
        place = error.filename or "a file"
        raise InvalidArgument(
            "client",
            f"{place} cannot be written: {error.strerror}; everything that was written was put back.",
            hint="Put that right and run it again.",
        ) from error
    for folder in sorted(plan.folders, key=lambda each: len(each.parts), reverse=True):
        with suppress(OSError):
            folder.rmdir()  # only where it is empty
    manifest.forget_copies()


def _check_unchanged(plan: Plan) -> None:
    """Refuse to write over what somebody else has written since it was read."""
    for change in plan.changed:
        if files.read_file(change.found.target).content != change.found.content:
            raise InvalidArgument(
                "client",
                f"{change.path} was changed by somebody else just now; nothing was changed.",
                hint="Close the client and run it again.",
            )


def _write(change: FileChange, records: dict[str, Record]) -> list[Path]:
    target = change.found.target
    if change.after is None:
        files.remove(target)
        return []
    folders = files.make_folders(target)
    record = records.get(str(target))
    if record is not None:
        record.folders += [str(folder) for folder in folders]
    files.replace(target, change.after, change.mode)
    return folders


def _put_back(done: Sequence[FileChange], made: Sequence[Path]) -> None:
    for change in reversed(done):
        with suppress(OSError):
            if change.found.content is None:
                files.remove(change.found.target)
            else:
                files.replace(change.found.target, change.found.content, change.found.mode)
    for folder in reversed(made):
        with suppress(OSError):
            folder.rmdir()
