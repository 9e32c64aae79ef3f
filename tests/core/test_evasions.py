"""Ways round the fence by second names, git, editors, the clock and packages; each beside what is honest work."""

from __future__ import annotations

import pytest

from tallygate.clients.registry import REGISTRY
from tallygate.core.guard.fence import Edit, GitTree, GuardedFiles, GuardFinding, Reach, reaches

HOME = "/home/me"
DATA = f"{HOME}/.local/share/tallygate"
CONFIG = f"{HOME}/.config/tallygate"
SITE = f"{HOME}/.local/share/uv/tools/tallygate/lib/python3.12/site-packages"
CLAUDE = f"{HOME}/.claude/settings.json"
TWINS = {
    "/srv/shop/second.db": f"{DATA}/ledger.db",
    "/srv/shop/second.toml": f"{CONFIG}/config.toml",
    "/srv/shop/second.json": CLAUDE,
}
KEPT = {f"{HOME}/.config": ("tallygate/config.toml",), "/srv/shop": (".l6e/runs.jsonl",), f"{HOME}/.claude": ()}


def tree(folder: str, git_dir: str | None) -> GitTree | None:
    """Three repositories: dotfiles that keep our settings, a project, and a folder in which nothing is kept."""
    if git_dir is not None:
        return GitTree(folder, lambda name: name == ".config/tallygate/config.toml")
    top = next((each for each in KEPT if folder == each or folder.startswith(each + "/")), None)
    return None if top is None else GitTree(top, lambda name: name in KEPT[top])


OWN = GuardedFiles(
    {
        f"{DATA}/ledger.db": "the ledger",
        f"{DATA}/keys": "the keys",
        f"{CONFIG}/config.toml": "the settings file",
        f"{SITE}/tallygate": "the program",
        f"{HOME}/.config/opencode/plugin/tallygate.js": "the plugin",
        DATA: "the data",
        CONFIG: "the settings folder",
        "/srv/shop/.l6e/runs.jsonl": "the run log",
    },
    HOME,
    frozenset({"/srv/shop/.l6e/runs.jsonl"}),
    {CLAUDE: "the entries", f"{HOME}/.codex/config.toml": "the entries"},
    lambda edit: edit.text is None or "tallygate" not in edit.text,
    program=True,
    twins=lambda: TWINS.get,
    tree=tree,
    starts=frozenset({SITE}),
    usual={"XDG_DATA_HOME": f"{HOME}/.local/share", "XDG_CONFIG_HOME": f"{HOME}/.config"},
    clients=REGISTRY.nested,
)
SHARED_SITE = f"{HOME}/env/lib/python3.12/site-packages"
SHARED = GuardedFiles(
    {f"{SHARED_SITE}/tallygate": "the program"},
    HOME,
    program=True,
    alone=False,
    starts=frozenset({SHARED_SITE}),
    clients=REGISTRY.nested,
)

CAUGHT = {
    # what changes a client is the user's, whatever ledger a variable names
    "TALLYGATE_HOME=/tmp/x tallygate uninstall": "`tallygate uninstall`",
    "TALLYGATE_HOME=/tmp/x tallygate uninstall --client claude-code": "`tallygate uninstall`",
    "export TALLYGATE_HOME=/tmp/t; tallygate uninstall": "`tallygate uninstall`",
    "TALLYGATE_DB=/tmp/x.db tallygate init": "`tallygate init`",
    "TALLYGATE_CONFIG=/tmp/x.toml python3 -m tallygate init": "`tallygate init`",
    "env XDG_DATA_HOME=/tmp/x tallygate init --client claude-code": "`tallygate init`",
    "env -u CLAUDECODE XDG_DATA_HOME=/tmp/x setsid tallygate init": "`tallygate init`",
    "XDG_DATA_HOME=/tmp/x XDG_CONFIG_HOME=/tmp/y uvx tallygate init": "`tallygate init`",
    "sh -c 'XDG_DATA_HOME=/tmp/x tallygate uninstall'": "`tallygate uninstall`",
    "HOME=/home/me/ XDG_DATA_HOME=/tmp/x tallygate init": "`tallygate init`",
    "HOME=$HOME/ XDG_DATA_HOME=/tmp/x tallygate uninstall": "`tallygate uninstall`",
    "HOME=~ TALLYGATE_HOME=/tmp/x tallygate uninstall": "`tallygate uninstall`",
    "HOME=/home/me/src/.. tallygate init": "`tallygate init`",
    "cd ~ && HOME=. TALLYGATE_HOME=/tmp/x tallygate init": "`tallygate init`",
    "HOME= TALLYGATE_HOME=/tmp/x tallygate uninstall": "`tallygate uninstall`",
    "HOME=/tmp/q CLAUDE_CONFIG_DIR=~/.claude tallygate uninstall": "`tallygate uninstall`",
    "HOME=/tmp/q CODEX_HOME=/home/me/.codex/ tallygate init": "`tallygate init`",
    "HOME=/home TALLYGATE_HOME=/tmp/x tallygate init": "`tallygate init`",
    "ln -s ~ /tmp/q; HOME=/tmp/q TALLYGATE_HOME=/tmp/x tallygate uninstall": "`tallygate uninstall`",
    # other commands, where the variables lead to the same ledger all the same
    f"TALLYGATE_DB={DATA}/ledger.db tallygate budget raise s1 5": "`tallygate budget raise`",
    f"TALLYGATE_DB={DATA}/ledger.db HOME=/tmp/q tallygate budget raise s1 5": "`tallygate budget raise`",
    "TALLYGATE_DB=second.db tallygate budget raise s1 5": "`tallygate budget raise`",
    f"TALLYGATE_HOME={DATA} tallygate budget raise s1 5": "`tallygate budget raise`",
    "XDG_DATA_HOME=~/.local/share tallygate budget raise s1 5": "`tallygate budget raise`",
    "XDG_CONFIG_HOME=/tmp/x setsid tallygate budget raise s1 5": "`tallygate budget raise`",
    "TALLYGATE_CONFIG=/tmp/x.toml tallygate sessions end s1": "`tallygate sessions end`",
    f"TALLYGATE_HOME=/tmp/x TALLYGATE_KEY_DIR={DATA}/keys tallygate keys trust a.pem": "`tallygate keys trust`",
    "TALLYGATE_DB= tallygate budget raise s1 5": "`tallygate budget raise`",
    "HOME=~/ tallygate budget raise s1 5": "`tallygate budget raise`",
    # a second name of the same file
    f"ln {DATA}/ledger.db a": "the ledger",
    f"ln -f {CONFIG}/config.toml /tmp/a": "the settings file",
    "cd ~/.config/tallygate && ln config.toml /tmp/a": "the settings file",
    f"link {DATA}/ledger.db a": "the ledger",
    f"cp -l {DATA}/ledger.db a": "the ledger",
    f"cp -al {DATA} /tmp/a": "the data",
    f"cp --link {DATA}/ledger.db a": "the ledger",
    "ln ~/.claude/settings.json a.json": "the entries",
    f'python -c \'import os; os.link("{DATA}/ledger.db", "a")\'': "the ledger",
    f'node -e \'fs.linkSync("{DATA}/ledger.db", "a")\'': "the ledger",
    "echo x > second.toml": "the settings file",
    "sed -i s/hard/soft/ second.toml": "the settings file",
    "bash -c 'echo x > second.toml'": "the settings file",
    "echo '{}' > second.json": "the entries",
    "ln -s ~/.config/tallygate a && echo x > a/config.toml": "the settings file",
    "ln -sfn /tmp/mine ~/.config/tallygate": "the settings folder",
    # git
    "git -C ~/.config checkout .": "the settings file",
    "git -C ~ -C .config checkout .": "the settings file",
    "cd ~/.config && git checkout -- tallygate": "the settings file",
    "cd ~/.config/nvim && git stash": "the settings file",
    "git -C ~/.config checkout HEAD~3 -- tallygate/config.toml": "the settings file",
    "git -C ~/.config checkout -f": "the settings file",
    "git -C ~/.config restore tallygate/config.toml": "the settings file",
    "git -C ~/.config restore -s HEAD~3 .": "the settings file",
    "git -C ~/.config restore :/": "the settings file",
    "git -C ~/.config stash": "the settings file",
    "git -C ~/.config stash push -- tallygate": "the settings file",
    "git -C ~/.config stash pop": "the settings file",
    "git -C ~/.config reset --hard HEAD~1": "the settings file",
    "git -C ~/.config rm -r tallygate": "the settings file",
    "git -C ~/.config mv tallygate old": "the settings file",
    "git -C ~/.config clean -fd": "the plugin",
    "git -C ~/.config clean -fdx opencode": "the plugin",
    "git -C ~/.config stash -u -- opencode": "the plugin",
    "git --git-dir=$HOME/.dotfiles --work-tree=$HOME checkout .": "the settings file",
    "git --git-dir ~/.dotfiles --work-tree ~ reset --hard": "the settings file",
    # variables that say what stands in for them
    "rm -rf ${XDG_DATA_HOME:-$HOME/.local/share}/tallygate": "the ledger",
    'rm -rf "${XDG_DATA_HOME:-~/.local/share}/tallygate"': "the ledger",
    "rm -rf ${XDG_DATA_HOME-$HOME/.local/share}/tallygate/keys": "the keys",
    "mv ${XDG_CONFIG_HOME:=$HOME/.config}/tallygate /tmp": "the settings file",
    "rm -rf ${NOT_SET:-${XDG_DATA_HOME:-$HOME/.local/share}}/tallygate": "the ledger",
    "rm -rf $XDG_DATA_HOME/tallygate": "the ledger",
    "D=${XDG_CONFIG_HOME:-$HOME/.config}; rm $D/tallygate/config.toml": "the settings file",
    # names that come from elsewhere
    f"xargs rm -rf <<< {DATA}": "the ledger",
    f"xargs rm <<'END'\n{DATA}/ledger.db\nEND": "the ledger",
    f"parallel rm ::: {DATA}/ledger.db": "the ledger",
    f"echo {DATA}/ledger.db | parallel rm": "the ledger",
    "find ~/.local/share -delete": "the ledger",
    "find ~/.local/share -name tallygate -exec rm -r {} +": "the ledger",
    # other words for taking away and writing
    f"gio trash {DATA}": "the ledger",
    f"gio remove {DATA}/ledger.db": "the ledger",
    f"gio move {DATA} /tmp": "the ledger",
    f"trash-put {DATA}": "the ledger",
    f"npx -y rimraf {DATA}": "the ledger",
    f"rename s/db/old/ {DATA}/ledger.db": "the ledger",
    "rsync -a --delete empty/ ~/.local/share/tallygate/": "the ledger",
    "rsync -a --delete empty/ ~/.local/share/": "the ledger",
    f"rsync -a --remove-source-files {DATA}/ /tmp/a": "the ledger",
    "rsync -a evil/tallygate ~/.config": "the settings folder",
    "vim -c '%d|wq' ~/.config/tallygate/config.toml": "the settings file",
    "vim -es -c wq ~/.config/tallygate/config.toml": "the settings file",
    "nvim +%d +wq ~/.config/tallygate/config.toml": "the settings file",
    "vim -c 'w! ~/.config/tallygate/config.toml' -c q new.toml": "the settings file",
    "ex -sc '%s/hard/soft/|x' ~/.config/tallygate/config.toml": "the settings file",
    "ed ~/.config/tallygate/config.toml": "the settings file",
    "ed -s ~/.config/tallygate/config.toml <<'END'\n1d\nw\nq\nEND": "the settings file",
    "printf '1d\\nw\\nq\\n' | ed -s ~/.config/tallygate/config.toml": "the settings file",
    f"tar xf old.tar -C {DATA}": "the data",
    f"tar --extract --directory={DATA} -f old.tar": "the data",
    f"unzip -o old.zip -d {CONFIG}": "the settings folder",
    f"sqlite3 old.db '.backup {DATA}/ledger.db'": "the ledger",
    f"sqlite3 old.db \"vacuum into '{DATA}/ledger.db'\"": "the ledger",
    f"sqlite3 x.db \"attach '{DATA}/ledger.db' as l; delete from l.events\"": "the ledger",
    f"fallocate -l 0 {DATA}/ledger.db": "the ledger",
    f"mount --bind /tmp/a {DATA}": "the ledger",
    "mount -t tmpfs none ~/.local/share": "the ledger",
    f"umount {DATA}": "the ledger",
    f"chattr +i {DATA}/ledger.db": "the ledger",
    f"uv run rm {DATA}/ledger.db": "the ledger",
    f"uv run --with rich python -c 'import os; os.unlink(\"{DATA}/ledger.db\")'": "the ledger",
    f"poetry run python - <<'END'\nimport shutil; shutil.rmtree('{DATA}')\nEND": "the data",
    "uv run tallygate budget raise s1 9": "`tallygate budget raise`",
    "uv run --no-sync tallygate budget raise s1 9": "`tallygate budget raise`",
    f"faketime tomorrow rm {DATA}/ledger.db": "the ledger",
    # scripts that the same command has written
    f"cat > /tmp/x.sh <<'END'\nrm -rf {DATA}\nEND\nbash /tmp/x.sh": "the ledger",
    f"echo 'rm -rf {DATA}' > x.sh; chmod +x x.sh; ./x.sh": "the ledger",
    f"echo 'rm -rf {DATA}' > x.sh && . ./x.sh": "the ledger",
    f"echo 'cd {DATA}' > x.sh; echo 'rm ledger.db' >> x.sh; sh x.sh": "the ledger",
    f"cat > x.py <<'END'\nimport shutil\nshutil.rmtree('{DATA}')\nEND\npython3 x.py --now": "the data",
    "echo 'tallygate budget raise s1 9' > x.sh; bash x.sh": "`tallygate budget raise`",
    # truncated, printed into, and changed where they are
    f": > {DATA}/ledger.db": "the ledger",
    f"true >| {DATA}/ledger.db": "the ledger",
    f"truncate -s 0 {DATA}/ledger.db": "the ledger",
    f"dd if=/dev/null of={DATA}/ledger.db": "the ledger",
    "tee ~/.config/tallygate/config.toml < new.toml": "the settings file",
    "cat <<END > ~/.config/tallygate/config.toml\nlimit_usd = 900\nEND": "the settings file",
    "sed -i.bak s/1/9/ ~/.config/tallygate/config.toml": "the settings file",
    "perl -i -pe s/1/9/ ~/.config/tallygate/config.toml": "the settings file",
    "install -m 600 new.toml ~/.config/tallygate/config.toml": "the settings file",
    f"python - <<EOF\nopen('{CONFIG}/config.toml', 'w').write('')\nEOF": "the settings file",
    # awk, changing files where they are
    f"awk -i inplace '{{gsub(/1/, 9)}}1' {CONFIG}/config.toml": "the settings file",
    f"gawk -i inplace -v INPLACE_SUFFIX=.bak '{{print}}' {CONFIG}/config.toml": "the settings file",
    f"gawk -iinplace 1 {CONFIG}/config.toml": "the settings file",
    f"gawk --include=inplace 1 {CONFIG}/config.toml": "the settings file",
    f"gawk --include inplace 1 {CONFIG}/config.toml": "the settings file",
    f"awk -l inplace -f edits.awk {CONFIG}/config.toml": "the settings file",
    "find ~/.config/tallygate -name '*.toml' -exec gawk -i inplace 1 {} +": "the settings file",
    # what holds a lock on a place of ours, so that the gate waits
    f"flock {DATA}/ledger.db.lock sleep 600": "the data",
    f"flock -x {DATA}/ledger.db sleep 600": "the ledger",
    f"flock -w 5 -o {DATA}/servers -c 'sleep 600'": "the data",
    f"flock --timeout 5 {DATA}/ledger.db sleep 600": "the ledger",
    f"nohup setsid flock --exclusive {DATA} sleep 600": "the data",
    f"exec 9>{DATA}/ledger.db.lock; flock 9": "the data",
    f"exec 9<{DATA}/ledger.db.lock; flock 9; sleep 600": "the data",
    f"exec 9<>{DATA}/ledger.db && flock -x 9 && sleep 600": "the ledger",
    f"( flock -w 5 9 && sleep 600 ) 9< {DATA}/ledger.db": "the ledger",
    f"{{ flock --timeout 5 8; sleep 600; }} 8<{DATA}/ledger.db": "the ledger",
    f"exec {{fd}}<{DATA}/ledger.db; flock $fd": "the ledger",
    f"bash -c 'exec 9<{DATA}/ledger.db'; bash -c 'flock 9; sleep 600'": "the ledger",
    f"flock 0 < {DATA}/ledger.db": "the ledger",
    f"""perl -e 'open(F, "<", "{DATA}/ledger.db"); flock(F, 2); sleep 600'""": "the ledger",
    f"""perl -MFcntl -e 'open my $f, "<{DATA}/ledger.db"; flock $f, LOCK_EX; sleep 600'""": "the ledger",
    f"""ruby -e 'f = File.open("{DATA}/ledger.db"); f.flock File::LOCK_EX; sleep'""": "the ledger",
    f"""ruby -e 'File.open("{DATA}/ledger.db").flock(2); sleep'""": "the ledger",
    # awk that prints into files, or runs something
    f"""awk 'BEGIN {{print "x" > "{CONFIG}/config.toml"}}'""": "the settings file",
    f"""awk 'BEGIN {{printf "%s", "x" >> "{CONFIG}/config.toml"}}'""": "the settings file",
    f"""gawk -v f={CONFIG}/config.toml 'BEGIN {{print "[policy]" > f}}'""": "the settings file",
    f"""awk -vf={CONFIG}/config.toml '{{print $1 > f}}' notes.txt""": "the settings file",
    f"""awk '{{print $1 > f}}' f={CONFIG}/config.toml notes.txt""": "the settings file",
    f"""awk 'BEGIN {{f = "{DATA}/ledger.db"; print "" > f}}'""": "the ledger",
    f"""awk 'BEGIN {{system("rm {DATA}/ledger.db")}}'""": "the ledger",
    f"""awk 'BEGIN {{print "x" | "tee {CONFIG}/config.toml"}}'""": "the settings file",
    f"""cd {CONFIG} && awk '{{print > "config.toml"}}' /tmp/mine.toml""": "the settings file",
    f"""python -c 'import fcntl; f = open("{DATA}/ledger.db"); fcntl.flock(f, 2); input()'""": "the ledger",
    f"""python -c 'import fcntl; fcntl.lockf(open("{DATA}/ledger.db", "rb+"), 2)'""": "the ledger",
    # sqlite3 on the ledger for what is no plain read
    f"sqlite3 {DATA}/ledger.db 'begin exclusive'": "the ledger",
    f"sqlite3 {DATA}/ledger.db 'BEGIN IMMEDIATE; select 1'": "the ledger",
    f"(echo 'begin exclusive;'; sleep 600) | sqlite3 {DATA}/ledger.db": "the ledger",
    f"sqlite3 {DATA}/ledger.db 'pragma wal_checkpoint(truncate)'": "the ledger",
    f"sqlite3 {DATA}/ledger.db 'pragma journal_mode=delete'": "the ledger",
    f"sqlite3 {DATA}/ledger.db 'PRAGMA main.wal_checkpoint'": "the ledger",
    f"sqlite3 {DATA}/ledger.db 'vacuum'": "the ledger",
    f"sqlite3 {DATA}/ledger.db 'reindex'": "the ledger",
    f"sqlite3 {DATA}/ledger.db 'with a as (select 1) update budget set limit_nanos = 9'": "the ledger",
    f"sqlite3 {DATA}/ledger.db 'select 1; /* */ delete from event'": "the ledger",
    f"sqlite3 {DATA}/ledger.db 'update budget as b set limit_nanos = 9'": "the ledger",
    f"sqlite3 {DATA}/ledger.db 'update \"budget\" set limit_nanos = 9'": "the ledger",
    f"sqlite3 {DATA}/ledger.db '.shell rm x'": "the ledger",
    f"sqlite3 {DATA}/ledger.db '.read edits.sql'": "the ledger",
    f"sqlite3 {DATA}/ledger.db '.lint x' '.archive -c x'": "the ledger",
    f"sqlite3 -cmd 'begin exclusive' {DATA}/ledger.db 'select 1'": "the ledger",
    f"sqlite3 -init edits.sql {DATA}/ledger.db": "the ledger",
    f"sqlite3 'file:{DATA}/ledger.db?mode=rw' 'begin exclusive'": "the ledger",
    f"sqlite3 {DATA}/ledger.db < edits.sql": "the ledger",
    f"cat edits.sql | sqlite3 {DATA}/ledger.db": "the ledger",
    f"sqlite3 :memory: \"attach '{DATA}/ledger.db' as l; begin exclusive; select 1\"": "the ledger",
    # what Python runs before the program
    f"echo 'import evil' > {SITE}/evil.pth": "the program",
    f"cp sitecustomize.py {SITE}": "the program",
    f"cp usercustomize.py {SITE}/usercustomize.py": "the program",
    f'python -c \'open("{SITE}/evil.pth", "w").write("import evil")\'': "the program",
    # packages
    "pip uninstall -y tallygate": "the program",
    "uv tool uninstall tallygate": "the program",
    "uv tool upgrade tallygate": "the program",
    "uv tool install --force tallygate==0.1": "the program",
    "uv tool install tallygate@0.1": "the program",
    "uv tool install --with evil tallygate": "the program",
    "pipx uninstall tallygate": "the program",
    "pipx upgrade tallygate": "the program",
    "pipx install --force ./fork tallygate": "the program",
    "pipx inject tallygate evil": "the program",
    "pipx runpip tallygate install evil": "the program",
    # clients that are told to leave hooks out from now on
    "codex features disable hooks": "the entries in the settings",
    "codex features disable codex_hooks": "the entries in the settings",
    "gemini hooks disable-all": "the entries in the settings",
    "copilot config set disableAllHooks true": "the entries in the settings",
    "codex mcp remove tallygate": "the entries in the settings",
    "claude mcp add tallygate -- /bin/true": "the entries in the settings",
    "claude mcp add -s project tallygate /bin/true": "the entries in the settings",
    "claude mcp add-json tallygate '{}'": "the entries in the settings",
    # added to a file of theirs, or changed in it
    "printf '[features]\\nhooks = false\\n' >> ~/.codex/config.toml": "the entries",
    "sed -i 's/hooks = true/hooks = false/' ~/.codex/config.toml": "the entries",
    "jq '.hooksConfig.enabled = false' ~/.claude/settings.json > t && mv t ~/.claude/settings.json": "the entries",
    "jq '.hooksDisabled = true' ~/.claude/settings.json > t && mv t ~/.claude/settings.json": "the entries",
    # however the program is called
    "python -m tallygate.entrypoints.cli budget raise s1 9": "`tallygate budget raise`",
    # PowerShell
    f"Remove-Item -Recurse {DATA}": "the ledger",
    f"Set-Content -Path {CONFIG}/config.toml -Value x": "the settings file",
    f"Move-Item {DATA}/ledger.db /tmp": "the ledger",
    f"Get-ChildItem; Clear-Content {DATA}/ledger.db": "the ledger",
}
PASSES = f"""
git checkout .
git checkout main
git checkout -b fix
git checkout -- src/app.py
git checkout --ours .l6e/runs.jsonl
git restore .
git restore --staged .
git stash
git stash -u
git stash pop
git reset --hard origin/main
git clean -fdx
git rm -r old
git mv a b
git -C /srv/other checkout .
git -C ~/.config status
git -C ~/.config diff tallygate
git -C ~/.config log -p -- tallygate/config.toml
git -C ~/.config add -A
git -C ~/.config add tallygate/config.toml
git -C ~/.config commit -am "settings"
git -C ~/.config push
git -C ~/.config pull --rebase
git -C ~/.config checkout main
git -C ~/.config checkout -b laptop
git -C ~/.config checkout -- nvim
git -C ~/.config restore nvim/init.lua
git -C ~/.config restore --staged tallygate/config.toml
git -C ~/.config reset
git -C ~/.config reset HEAD~1
git -C ~/.config rm --cached tallygate/config.toml
git -C ~/.config stash list
git -C ~/.config stash show -p
git -C ~/.config stash push -- nvim
git -C ~/.config clean -nd
git -C ~/.config clean -fd nvim
git -C ~/.config show HEAD:tallygate/config.toml
git -C ~/.config ls-files
git -C ~ checkout .
git -C ~/.claude checkout .
git --git-dir=$HOME/.dotfiles --work-tree=$HOME status
git --git-dir=$HOME/.dotfiles --work-tree=$HOME add .config/tallygate/config.toml
git clone https://example.com/dots ~/.config/dots
git show HEAD~3:config.toml > old.toml
git log --oneline -- ${{FILE:-README.md}}
ln -s {DATA} data
ln -s ~/.claude/settings.json dots/settings.json
ln a b
cp -al src /tmp/src
cp -l a b
ls -l {DATA}
python -c 'import os; os.link("a", "b")'
python -c 'import os; print(os.readlink("{DATA}/ledger.db"))'
sqlite3 {DATA}/ledger.db 'select count(*) from event; select 1;'
sqlite3 -header -csv {DATA}/ledger.db "select replace(actor, ';', 'delete from') from call -- drop table x"
sqlite3 -separator ' ' {DATA}/ledger.db 'with a as (select 1) select * from a'
sqlite3 {DATA}/ledger.db .tables '.mode box' 'select 1'
sqlite3 {DATA}/ledger.db 'pragma table_info(budget)'
sqlite3 {DATA}/ledger.db 'pragma user_version; explain query plan select 1'
sqlite3 {DATA}/ledger.db 'begin; select 1; commit'
sqlite3 {DATA}/ledger.db '.backup /tmp/copy.db'
sqlite3 {DATA}/ledger.db "vacuum into '/tmp/copy.db'"
sqlite3 -readonly {DATA}/ledger.db < query.sql
sqlite3 'file:{DATA}/ledger.db?mode=ro' < query.sql
echo 'select 1' | sqlite3 {DATA}/ledger.db
sqlite3 app.db < schema.sql
sqlite3 app.db 'begin exclusive; update a set b = 1'
flock /tmp/build.lock make
( flock 9 && wc -l < /srv/shop/.l6e/runs.jsonl ) 9>/tmp/build.lock
exec 9>/tmp/build.lock; flock 9; cat < {DATA}/ledger.db > /tmp/copy.db
exec 9<{DATA}/ledger.db; cat <&9 | wc -c
exec {{fd}}</tmp/a; flock $fd make
perl -e 'open(F, "<", "{DATA}/ledger.db"); print -s F'
perl -ne 'print if /flock/' {DATA}/ledger.db
awk '{{print $1 > "/tmp/first"}}' {CONFIG}/config.toml
awk -v most=5 '{{if ($2 > most) print $1, $2 > most}}' {DATA}/ledger.db
awk '{{print ($1 > $2) ? "a" : "b"}}' {CONFIG}/config.toml
awk '/"tallygate"/ {{print $2}}' {CONFIG}/config.toml > /tmp/mine
awk 'BEGIN {{"cat {CONFIG}/config.toml" | getline line; print line}}'
awk 'BEGIN {{system("ls {DATA}")}}'
flock -w 5 build.lock -c 'cat {DATA}/ledger.db'
flock /tmp/a cp {DATA}/ledger.db /tmp
gawk -i inplace 1 notes.txt
gawk -i lib.awk 1 {CONFIG}/config.toml
awk '/inplace/' {CONFIG}/config.toml
rm -rf ${{XDG_CACHE_HOME:-$HOME/.cache}}/pip
rm -rf "${{BUILD_DIR:-build}}"
rm -rf ${{D:-/tmp/x}}/tallygate
ls ${{XDG_DATA_HOME:-$HOME/.local/share}}/tallygate
cat ${{XDG_CONFIG_HOME:-$HOME/.config}}/tallygate/config.toml
cp ${{XDG_CONFIG_HOME:-$HOME/.config}}/tallygate/config.toml /tmp
xargs rm -f <<< "a b"
xargs cat <<< {CONFIG}/config.toml
xargs -a files.txt rm
echo 'rm -rf {DATA}' > notes.txt; cat notes.txt
echo 'rm -rf build' > x.sh; bash x.sh
echo 'print(1)' > x.py; python x.py
bash x.sh
parallel gzip ::: a b
parallel cat ::: {CONFIG}/config.toml
find ~/.local/share -name '*.pyc' -delete
find . -delete
find {DATA} -type f
gio list {DATA}
gio open {CONFIG}/config.toml
gio trash old.txt
gio copy {DATA}/ledger.db /tmp
trash-put build
npx rimraf dist
npx -y prettier --write {CONFIG}.md
rename s/a/b/ *.txt
rsync -a --delete src/ /backup/src/
rsync -a --delete {DATA}/ /backup/tallygate/
rsync -a ~/.config /backup
vim ~/.config/tallygate/config.toml
vim src/app.py
vim -c 'set number' ~/.config/tallygate/config.toml
vim -es -c 'wq' src/app.py
nvim +42 ~/.config/tallygate/config.toml
view ~/.config/tallygate/config.toml
ex -sc '%s/a/b/|x' src/app.py
ed -s src/app.py <<< w
ed -s {CONFIG}/config.toml <<< ,p
code ~/.config/tallygate/config.toml
nano ~/.config/tallygate/config.toml
tar xf a.tar -C /tmp
tar czf /tmp/a.tgz -C {DATA} .
tar tf a.tar
unzip a.zip -d vendor
unzip -l a.zip
sqlite3 {DATA}/ledger.db '.backup /tmp/copy.db'
sqlite3 {DATA}/ledger.db ".output /tmp/out.txt" "select 1"
sqlite3 {DATA}/ledger.db "vacuum into '/tmp/copy.db'"
sqlite3 x.db "attach '{DATA}/ledger.db' as l; select count(*) from l.events"
mount
mount /dev/sdb1 /mnt
mount -o remount,rw /
umount /mnt
chattr -i notes.txt
date
date +%s
date -u +%Y-%m-%d
date -Iseconds
date -d tomorrow +%F
date -d 20261130
date -r README.md
date --date='2 days ago'
timedatectl
timedatectl status
timedatectl show -p NTP
hwclock --show
faketime '2026-01-01' pytest tests/test_dates.py
cat {SITE}/tallygate/core/gate/policy.py
grep -rn limit {SITE}/tallygate
ls {SITE}
cat {SITE}/_virtualenv.pth
echo x > conftest.py
echo 'import x' > .venv/lib/python3.12/site-packages/dev.pth
cp sitecustomize.py tests/
pip install requests
pip install -U requests
pip install -e .
pip install -e '.[dev]'
pip install --upgrade pip
pip install tallygate
pip install -U tallygate
pip install tallygate-docs==2
pip show tallygate
pip download tallygate
.venv/bin/pip uninstall -y tallygate
.venv/bin/python -m pip install -U tallygate
uv pip install tallygate==1.0
uv add tallygate
uv add 'tallygate>=1'
uv sync --upgrade
uv run pytest -q
uv run python -c 'print(1)'
uv run --python 3.12 python script.py
uv run tallygate status
uv tool list
uv tool install ruff
uv tool install tallygate
uv tool upgrade ruff
pipx list
pipx install ruff
pipx upgrade ruff
npm install -g @openai/codex
claude mcp add tallygate-docs -- npx docs
claude mcp add docs -- npx tallygate
claude mcp get tallygate
echo 'model = "x"' > ~/.codex/other.toml
python -m tallygate.entrypoints.cli status
codex features list
codex features enable hooks
codex features disable web_search_request
gemini hooks list
copilot config get disableAllHooks
pkill -f tallygate
kill 1234
killall node
Get-Content {CONFIG}/config.toml
Copy-Item {DATA}/ledger.db /tmp/copy.db
Remove-Item -Recurse build
Set-Content -Path out.txt -Value x
rm -rf src/tallygate/__pycache__
sed -i s/a/b/ src/tallygate/core/guard/fence.py
""".strip().splitlines()


def reached(command: str, own: GuardedFiles = OWN) -> str | None:
    found = reaches(Reach(command), own, "/srv/shop")
    return None if found is None else found.what


@pytest.mark.parametrize("command", CAUGHT)
def test_a_way_round_is_refused_by_what_it_would_change(command):
    assert reached(command) == CAUGHT[command]


@pytest.mark.parametrize("command", PASSES)
def test_honest_work_beside_it_passes(command):
    assert reached(command) is None


@pytest.mark.parametrize(
    "command",
    [
        "date -s tomorrow",
        "sudo date -s '2027-01-01'",
        "date --set=2027-01-01",
        "date -us 2027-01-01",
        "date 120100002027",
        "timedatectl set-time 2027-01-01",
        "timedatectl set-ntp false",
        "sudo hwclock --set --date 2027-01-01",
        "hwclock --hctosys",
        "sh -c 'date -s tomorrow'",
        "Set-Date 2027-01-01",
    ],
)
def test_the_clock_by_which_budgets_are_renewed_is_the_users(command):
    found = reaches(Reach(command), OWN, "/srv/shop")
    assert found is not None
    assert found.clock


# A fence against a model that follows its reading, not against a program.
NOT_SEEN = f"""
git -C ~/.config pull
git -C ~/.config merge old
git -C ~/.config checkout old
git -C ~/.config apply ../loose.patch
git -C ~/.claude checkout HEAD~3 -- settings.json
tar xf a.tar -C ~/.local
unzip -o a.zip -d ~/.config
xargs rm < names.txt
cp -al ~/.local/share /tmp/a
rsync -a --link-dest={DATA} x/ /tmp/a
emacs --batch {CONFIG}/config.toml --eval '(save-buffer)'
ntpdate ntp.example.com
pip install ./fork
D=ledger.db; rm ~/.local/share/tally${{D%.db}}
"""


@pytest.mark.parametrize("command", NOT_SEEN.strip().splitlines())
def test_what_is_not_seen_is_known(command):
    assert reached(command) is None


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("pip install -U tallygate", "the program"),
        ("pip install 'tallygate==0.1'", "the program"),
        ("pip install --force-reinstall tallygate", "the program"),
        ("python -m pip install tallygate@https://example.com/t.whl", "the program"),
        ("~/env/bin/pip install -U tallygate", "the program"),
        ("~/env/bin/pip uninstall tallygate", "the program"),
        ("pip install tallygate", None),
        ("pip install 'tallygate[keyring]'", None),
        ("pip install --dry-run -U tallygate", None),
        ("pip install -U requests", None),
        ("/srv/shop/.venv/bin/pip install -U tallygate", None),
        ("echo x > ~/env/lib/python3.12/site-packages/requests/api.py", None),
    ],
)
def test_an_environment_that_the_program_shares_is_worked_in_but_for_the_program(command, what):
    assert reached(command, SHARED) == what


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("second.toml", "the settings file"),
        ("second.json", "the entries"),
        (f"{SITE}/sitecustomize.py", "the program"),
        (f"{SITE}/a.pth", "the program"),
        (f"{SITE}/other/a.pth", None),
        ("first.toml", None),
    ],
)
def test_an_edit_of_a_second_name_or_of_what_runs_first_is_an_edit_of_the_file_itself(file, what):
    found = reaches(Reach(edits=(Edit(file, "x"),)), OWN, "/srv/shop")
    assert (found and found.what) == what


def test_an_edit_of_a_second_name_that_leaves_our_entries_passes():
    assert reaches(Reach(edits=(Edit("second.json", '{"hooks": "tallygate"}'),)), OWN, "/srv/shop") is None


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (f"import os\nos.unlink('{DATA}/ledger.db')", "the ledger"),
        (f"open('{CONFIG}/config.toml', 'w').write('x')", "the settings file"),
        (f"rm -rf {DATA}", "the ledger"),
        (f"print(open('{CONFIG}/config.toml').read())", None),
        ("open('out.txt', 'w').write('x')", None),
    ],
)
def test_a_program_in_any_language_is_judged_as_code_and_as_a_command(code, what):
    found = reaches(Reach(code, code=True), OWN, "/srv/shop")
    assert found == (None if what is None else GuardFinding(what))


def test_the_tables_are_long_enough_to_say_something():
    assert len(set(PASSES)) >= 100
    assert len(CAUGHT) >= 100
