"""Which tools are kept off the gate's own files, and that ordinary work is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.clients.registry import REGISTRY
from tallygate.core.guard.fence import Edit, GuardedFiles, GuardFinding, Reach, reaches

HOME = "/home/me"
DATA = f"{HOME}/.local/share/tallygate"
PROGRAM = f"{HOME}/.local/share/uv/tools/tallygate/lib/python3.12/site-packages/tallygate"
CLAUDE = f"{HOME}/.claude/settings.json"
LINKS = {"/srv/shop/data": DATA, "/srv/shop/keep": f"{DATA}/keys"}


def real(path: str) -> str:
    """Follows two links of a project, as a system would."""
    link = next((link for link in LINKS if path == link or path.startswith(link + "/")), None)
    return path if link is None else LINKS[link] + path[len(link) :]


def loses(edit: Edit) -> bool:
    """Stands for the look into a client's file: what names us no more has lost its entries."""
    if edit.source is not None:
        return edit.source.endswith("bare.json")
    after = edit.outcome('{"hooks": "tallygate", "model": "a"}')
    return after is None or "tallygate" not in after


OWN = GuardedFiles(
    {
        f"{DATA}/ledger.db": "the ledger",
        f"{DATA}/ledger.db-wal": "the ledger",
        f"{DATA}/keys": "the keys",
        f"{HOME}/.config/tallygate/config.toml": "the settings file",
        f"{DATA}/servers": "the list of running servers",
        PROGRAM: "the program",
        DATA: "the data",
        "/srv/shop/.l6e/runs.jsonl": "the run log",
    },
    HOME,
    frozenset({"/srv/shop/.l6e/runs.jsonl"}),
    {CLAUDE: "the entries"},
    loses,
    real,
    program=True,
    agents_may=frozenset({"sessions end"}),
    clients=REGISTRY.nested,
)


def reached(command: str, own: GuardedFiles = OWN) -> str | None:
    """What a command is refused for, in the project `shop`."""
    found = reaches(Reach(command), own, "/srv/shop")
    return None if found is None else found.what


ORDINARY = f"""
ls
ls -la ~/.local/share/tallygate
cat ~/.config/tallygate/config.toml
cat {DATA}/ledger.db | head -c 16
head -5 .l6e/runs.jsonl
tail -f .l6e/runs.jsonl
wc -l .l6e/runs.jsonl
grep cost .l6e/runs.jsonl
grep '>' .l6e/runs.jsonl
grep ">" ~/.config/tallygate/config.toml
jq .cost .l6e/runs.jsonl > /tmp/costs.txt
jq -r '.a > 1' .l6e/runs.jsonl
rg limit ~/.config/tallygate
stat {DATA}/ledger.db
file {DATA}/ledger.db
du -sh {DATA}
find {DATA} -name '*.db'
sha256sum {DATA}/ledger.db
cp {DATA}/ledger.db /tmp/copy.db
cp -r ~/.config/tallygate /tmp/settings
cp .l6e/runs.jsonl notes/runs.jsonl
rsync -a {DATA}/ /backup/tallygate/
ln -s {DATA}/ledger.db /tmp/link
diff .l6e/runs.jsonl old.jsonl
less ~/.config/tallygate/config.toml
sqlite3 {DATA}/ledger.db 'select count(*) from events'
sqlite3 {DATA}/ledger.db '.schema'
sqlite3 -readonly {DATA}/ledger.db "select max(updated_at) from calls"
sqlite3 app.db 'delete from users'
sqlite3 app.db 'drop table users'
python -c 'print(open("{DATA}/ledger.db","rb").read(16))'
python3 -c "import sqlite3; print(sqlite3.connect('{DATA}/ledger.db').execute('select 1'))"
python -c 'open("out.txt","w").write("x")'
node -e 'require("fs").writeFileSync("a.txt","b")'
git add .l6e/runs.jsonl
git commit -m "rm ~/.local/share/tallygate/ledger.db is refused"
git diff .l6e/runs.jsonl
git log -- .l6e/runs.jsonl
git checkout main
git status
git stash
git push origin main
git rm --cached notes.txt
git clean -n
echo "rm {DATA}/ledger.db"
echo 'echo x > {DATA}/ledger.db'
echo "see {DATA}/ledger.db" > notes.md
echo {DATA}/ledger.db >> notes.md
printf '%s' ledger.db > x
# rm {DATA}/ledger.db
ls # > {DATA}/ledger.db is refused
rm -rf build dist
rm -rf node_modules
mv /srv/shop /srv/store
cd .. && rm -rf shop
rm -f /tmp/ledger.db
rm ledger.db
rm -rf .pytest_cache .ruff_cache
rm -rf tests/__pycache__
rm src/tallygate/core/guard/fence.py
mv src/tallygate/a.py src/tallygate/b.py
mv ledger.db /tmp
sed -n 1,20p ~/.config/tallygate/config.toml
sed 's/a/b/' .l6e/runs.jsonl
sed -i s/a/b/ src/app.py
sed -i 's#{DATA}#/data#' docs/paths.md
perl -pe 's/a/b/' .l6e/runs.jsonl
perl -pi -e 's/a/b/' src/app.py
tee notes.txt
make test | tee build.log
dd if={DATA}/ledger.db of=/tmp/x bs=1 count=16
dd if=/dev/zero of=/tmp/zero count=1
touch README.md
touch ~/.config/other.toml
chmod +x run.sh
chmod 600 ~/.ssh/config
chown me file
truncate -s 0 build.log
tallygate status
tallygate sessions show
tallygate budget list
tallygate verify
tallygate doctor
tallygate report --json > report.json
tallygate backup /tmp/backup.db
tallygate init --help
TALLYGATE_DB=/tmp/x.db tallygate budget raise 5
claude mcp add github -- npx github
claude mcp list
claude mcp remove github
claude --version
codex --help
vim ~/.claude/settings.json
jq '.model="x"' ~/.claude/settings.json > /tmp/s && mv /tmp/s ~/.claude/settings.json
cat ~/.claude/settings.json
echo '{{}}' > .claude/settings.local.json
mkdir -p ~/.config/tallygate
cd ~/.config/tallygate && ls
cd {DATA} && ls -l && cat ledger.db | wc -c
cd /tmp && rm -f ledger.db
cd src; rm -rf build
(cd /tmp && rm -rf keys)
pytest -q
python -m pytest tests/core -q
.venv/bin/python -m pytest tests/ledger -x
.venv/bin/ruff check && .venv/bin/mypy
uv sync
uv run pytest -q
pip install tallygate
uv tool install tallygate
npm ci && npm test
npm run build > build.log 2>&1
cargo build --release
go test ./...
docker build -t app .
docker compose up -d
kubectl get pods
terraform plan -out=plan.bin
curl -sS https://example.com -o page.html
curl -s https://example.com | jq . > out.json
wget -q https://example.com/a.tgz
tar xzf a.tgz
tar czf backup.tgz {DATA}
zip -r backup.zip ~/.config/tallygate
unzip -o a.zip
find . -name '*.pyc' -delete
find . -type f | xargs grep later
xargs rm < files.txt
for f in *.txt; do rm "$f"; done
while read l; do echo $l; done < .l6e/runs.jsonl
if [ -f {DATA}/ledger.db ]; then echo yes; fi
test -f {DATA}/ledger.db && echo there
[ -s .l6e/runs.jsonl ] || echo empty
awk '$1 > 2 {{print}}' .l6e/runs.jsonl
awk -F, '{{s+=$2}} END {{print s}}' data.csv
sort -u names.txt -o names.txt
cut -d, -f1 .l6e/runs.jsonl
export TALLYGATE_DB=/tmp/t.db; rm -f $TALLYGATE_DB
D=$(mktemp -d); rm -rf "$D"
rm -rf "$TMPDIR/x"
rm -rf ${{UNKNOWN}}
bash -c 'ls {DATA}'
sh -c "cat .l6e/runs.jsonl"
bash scripts/clean.sh
env | sort
sudo apt-get update
nohup python server.py > server.log 2>&1 &
time make -j2
kill 1234
ps aux | grep tallygate
sleep 1
date > /tmp/now
history | tail
ssh host 'rm -rf /tmp/x'
scp {DATA}/ledger.db host:/backup/
gh pr create --title 'rm the ledger' --body "x > y"
psql -c 'delete from carts where id > 3'
python manage.py migrate
rm 'unfinished quote
echo a \\> b
cmp {DATA}/ledger.db /tmp/copy.db
od -c {DATA}/ledger.db | head
strings {DATA}/ledger.db 2>/dev/null
cat {DATA}/ledger.db 2>&1 >/dev/null
node -e 'console.log(1 > 2)'
python -c "print('{DATA}/ledger.db')"
tee out.txt < {DATA}/ledger.db
jq '.model="opus"' ~/.claude/settings.json | sponge ~/.claude/settings.json
sed -i 's/"a"/"b"/' ~/.claude/settings.json
cp ~/.claude/settings.json ~/.claude/settings.json.bak
cp new.json ~/.claude/settings.json
chmod 600 ~/.claude/settings.json
git -C ~/.claude add settings.json
git -C ~ checkout -- .claude/settings.json
find ~ -name '*.pyc' -delete
find ~ -name node_modules -prune -exec rm -rf {{}} +
find ~ -path '*/.cache/*' -delete
find . -type f -name '*.orig' | xargs rm -f
grep -rl old ~ | xargs sed -i s/old/new/
grep -rl old src | xargs sed -i s/old/new/
ls ~ | xargs -n1 echo
rm -rf ~/.cache/pip
rm -rf .venv && python -m venv .venv
pip uninstall -y requests
uv pip install -e '.[dev]'
.venv/bin/tallygate demo
.venv/bin/pytest tests/core/guard/test_fence.py -k 'rm or ledger'
sed -i 's/tallygate/Tallygate/' README.md
cat > notes.md <<'END'
for f in src/*.py; do sed -i s/a/b/ "$f"; done
timeout 60 make test
env FOO=1 pytest -q
curl -so page.html https://example.com
tallygate trust --help
cat src/tallygate/entrypoints/hook.py
ruff check src/tallygate/entrypoints/hook.py
cp notes.txt ~/
mv build.log ~/.local/share/
chmod 755 ~/.local
chmod 755 ~/.loca[lk]
claude mcp add tallygate-docs -- npx docs
python -c 'rows = connect("{DATA}/ledger.db").execute("select 1"); open("out.csv", "w").write(str(rows))'
python -c 'import json; d = json.load(open("{HOME}/.claude/settings.json")); open("x.json", "w").write(d["model"])'
git log --oneline | head; rm -f .git/index.lock
""".strip().splitlines()

CAUGHT = [
    (f"rm {DATA}/ledger.db", "the ledger"),
    ("rm -rf ~/.local/share/tallygate", "the ledger"),
    ("rm -f ~/.local/share/tallygate/*", "the ledger"),
    ("rm -f $HOME/.local/share/tallygate/ledger.db*", "the ledger"),
    ('rm "${HOME}/.local/share/tallygate/ledger.db"', "the ledger"),
    (f"r'm' '{DATA}'/led\"ger.db\"", "the ledger"),
    (f"r\\m {DATA}/ledger.db", "the ledger"),
    (f"/bin/rm {DATA}/ledger.db", "the ledger"),
    (f"sudo rm {DATA}/ledger.db", "the ledger"),
    (f"FOO=1 command rm {DATA}/ledger.db", "the ledger"),
    (f"ls; rm {DATA}/ledger.db", "the ledger"),
    (f"ls\nrm {DATA}/ledger.db", "the ledger"),
    (f"true && (rm {DATA}/ledger.db)", "the ledger"),
    (f"rm \\\n {DATA}/ledger.db", "the ledger"),
    (f"cd {DATA} && rm ledger.db", "the ledger"),
    ("cd ~/.local/share; mv tallygate/ledger.db x", "the ledger"),
    ("rm ../../home/me/.local/share/tallygate/ledger.db", "the ledger"),
    (f"F={DATA}/ledger.db; rm $F", "the ledger"),
    (f"bash -c 'rm {DATA}/ledger.db'", "the ledger"),
    (f"sh -c \"bash -lc 'rm {DATA}/ledger.db'\"", "the ledger"),
    (f"eval 'rm {DATA}/ledger.db'", "the ledger"),
    (f"mv {DATA}/ledger.db /tmp", "the ledger"),
    (f"cp /tmp/old.db {DATA}/ledger.db", "the ledger"),
    (f"dd if=/dev/zero of={DATA}/ledger.db", "the ledger"),
    (f": > {DATA}/ledger.db", "the ledger"),
    (f">{DATA}/ledger.db", "the ledger"),
    (f"truncate -s0 {DATA}/ledger.db-wal", "the ledger"),
    (f"sqlite3 {DATA}/ledger.db 'update budgets set limit_nanos = 1'", "the ledger"),
    (f"sqlite3 {DATA}/ledger.db 'DELETE FROM events'", "the ledger"),
    (f"python -c 'import os; os.unlink(\"{DATA}/ledger.db\")'", "the ledger"),
    (f'python3 -c \'open("{DATA}/ledger.db", "wb")\'', "the ledger"),
    (f"chmod 000 {DATA}/keys", "the keys"),
    (f"rm -r {DATA}/keys/", "the keys"),
    (f"echo x | tee {DATA}/keys/other.pem", "the keys"),
    ("echo 'x' >> ~/.config/tallygate/config.toml", "the settings file"),
    ("sed -i s/hard/soft/ ~/.config/tallygate/config.toml", "the settings file"),
    ("cat > ~/.config/tallygate/config.toml <<'END'\n[budget]\nEND", "the settings file"),
    ("echo '{}' >> .l6e/runs.jsonl", "the run log"),
]
# What is known to pass: whoever wants to can go round a fence.
EVADED = [
    # quotes, other shells, code
    (f"'rm' $'{DATA}/ledger.db'", None),
    (f"\\rm -f -- {DATA}/ledger.db", "the ledger"),
    ("bash -lc 'cd ~ && rm -r .local/share/tallygate'", "the ledger"),
    (f"bash <<'END'\nrm {DATA}/ledger.db\nEND", "the ledger"),
    (f"echo 'rm {DATA}/ledger.db' | sh", "the ledger"),
    (f"sh <<< 'rm {DATA}/ledger.db'", "the ledger"),
    ("echo cm0gbGVkZ2Vy | base64 -d | sh", None),
    (f"python - <<'END'\nimport os; os.unlink('{DATA}/ledger.db')\nEND", "the ledger"),
    ("python3 -c 'from pathlib import Path; (Path.home()/\".local/share/tallygate/keys\").unlink()'", "the keys"),
    (f"node -e 'require(\"fs\").rmSync(\"{DATA}\", {{recursive: true}})'", "the data"),
    (f"perl -e 'unlink \"{DATA}/ledger.db\"'", "the ledger"),
    ("python -c 'import os; os.unlink(os.environ[\"HOME\"] + \"/.local/share\" + \"/tallygate/ledger.db\")'", None),
    ("python clean.py", None),
    # variables
    (f'D={DATA}; rm -rf "${{D}}"/keys', "the keys"),
    (f"export D={DATA}; rm -rf $D", "the ledger"),
    (f'for f in {DATA}/*; do rm "$f"; done', "the ledger"),
    ("HOME=/tmp rm ~/.local/share/tallygate/ledger.db", "the ledger"),
    (f"P=$(echo {DATA}); rm $P/ledger.db", None),
    # relative paths, links, patterns
    ("rm ../../home/me/.local/share/tallygate/ledger.db", "the ledger"),
    ("cd ~/.local && cd share && rm tallygate/ledger.db", "the ledger"),
    ("rm data/ledger.db", "the ledger"),
    ("rm data", None),  # the link itself
    ("echo x > data/ledger.db", "the ledger"),
    ("rm -r keep/", None),
    (f"ln -s {DATA} x && rm x/ledger.db", "the ledger"),
    (f"ln {DATA}/ledger.db x; echo y > x", "the ledger"),
    (f"rm {DATA}/l*r.d?", "the ledger"),
    (f"rm {DATA}/{{ledger.db,keys}}", "the ledger"),
    ("rm -rf ~/.l*/share", "the ledger"),
    ("rm -rf ~/*", None),  # a star takes no hidden folder
    # programs that start others
    (f"env -i rm {DATA}/ledger.db", "the ledger"),
    (f"env -u X A=1 rm {DATA}/ledger.db", "the ledger"),
    (f"env -S 'rm {DATA}/ledger.db'", "the ledger"),
    (f"sudo -u me timeout 5 nice -n 3 rm {DATA}/ledger.db", "the ledger"),
    (f"nohup setsid rm {DATA}/ledger.db &", "the ledger"),
    (f"busybox rm {DATA}/ledger.db", "the ledger"),
    (f"echo {DATA}/ledger.db | xargs rm", "the ledger"),
    ("ls -d ~/.local/share | xargs rm -rf", "the ledger"),
    (f"echo {DATA}/ledger.db | xargs -I% sh -c 'rm %'", "the ledger"),
    (f"find {DATA} -name ledger.db -delete", "the ledger"),
    ("find ~ -name 'ledger*' -exec rm {} +", "the ledger"),
    (f"find {DATA} -type f | xargs rm -f", "the ledger"),
    (f"find {DATA} -exec sh -c 'rm \"$0\"' {{}} ;", "the ledger"),
    ("ssh localhost rm .local/share/tallygate/ledger.db", "the ledger"),
    (f"su me -c 'rm {DATA}/ledger.db'", "the ledger"),
    (f"echo 'rm {DATA}/ledger.db' | at now", "the ledger"),
    (f"docker run -v {HOME}:/h alpine rm /h/.local/share/tallygate/ledger.db", None),
    ("crontab jobs.txt", None),
    ("make clean-ledger", None),
    # other ways to write
    (f"install -m 600 old.db {DATA}/ledger.db", "the ledger"),
    (f"rsync old.db {DATA}/ledger.db", "the ledger"),
    (f"cp -t {DATA}/keys mine.pem", "the keys"),
    (f"curl -so {DATA}/ledger.db https://example.com", "the ledger"),
    (f"cat old.db | tee {DATA}/ledger.db", "the ledger"),
    (f"sqlite3 {DATA}/ledger.db <<'END'\nUPDATE budgets SET limit_nanos = 1;\nEND", "the ledger"),
    (f"echo 'delete from events' | sqlite3 {DATA}/ledger.db", "the ledger"),
    (f"sqlite3 {DATA}/ledger.db < edits.sql", "the ledger"),
    (f"tar xf old.tar -C {DATA}", "the data"),
    ("rm ~/.local/share/tallygate/servers/*.hook", "the list of running servers"),
    (f"echo > {PROGRAM}/entrypoints/hook.py", "the program"),
    ("rm -rf ~/.local/share/uv/tools/tallygate", "the program"),
    ("pip uninstall -y tallygate", "the program"),
    ("uv tool uninstall tallygate", "the program"),
    ("python -m pip uninstall tallygate", "the program"),
    # commands that loosen
    ("tallygate budget raise s1 100", "`tallygate budget raise`"),
    ("tallygate budget set s1 999", "`tallygate budget set`"),
    ("env -u CLAUDECODE setsid -f tallygate budget set s1 999", "`tallygate budget set`"),
    ("(env -u CLAUDECODE tallygate budget set s1 999 &)", "`tallygate budget set`"),
    ("tallygate prices update list.json", "`tallygate prices update`"),
    ("tallygate prices reset", "`tallygate prices reset`"),
    ("~/.local/bin/tallygate uninstall", "`tallygate uninstall`"),
    ("python -m tallygate budget raise s1 100", "`tallygate budget raise`"),
    ("uvx tallygate init", "`tallygate init`"),
    ("env -u CLAUDECODE setsid tallygate budget raise s1 9", "`tallygate budget raise`"),
    ("systemd-run --user tallygate budget raise s1 9", "`tallygate budget raise`"),
    ("echo 'tallygate budget raise s1 9' | at now", "`tallygate budget raise`"),
    ("sh -c 'tallygate trust --yes'", "`tallygate trust`"),
    ("echo '{}' | tallygate hook --client codex --event UserPromptSubmit", "`tallygate hook`"),
    ("python -I -S /x/tallygate/entrypoints/hook.py --client claude_code < made-up.json", "`tallygate hook`"),
    ("python -I -S /x/share/tallygate/hook.py --client claude_code < made-up.json", "`tallygate hook`"),
    ("tallygate doctor --rebuild", "`tallygate doctor --rebuild`"),
    ("tallygate sessions end s1", None),  # the user's own settings leave it to agents
    # the entries in a client's settings
    ("rm ~/.claude/settings.json", "the entries"),
    ("mv ~/.claude ~/.claude.old", "the entries"),
    ("echo '{}' > ~/.claude/settings.json", "the entries"),
    (": > ~/.claude/settings.json", "the entries"),
    ("cat > ~/.claude/settings.json <<'END'\n{}\nEND", "the entries"),
    ("cp bare.json ~/.claude/settings.json", "the entries"),
    ("cp bare.json ~/.claude/", None),  # another name
    ("sed -i '/tallygate/d' ~/.claude/settings.json", "the entries"),
    ("jq 'del(.hooks)' ~/.claude/settings.json > t && mv t ~/.claude/settings.json", "the entries"),
    ("jq '.hooks = {}' ~/.claude/settings.json | sponge ~/.claude/settings.json", "the entries"),
    ("jq '.disableAllHooks=true' ~/.claude/settings.json > t; cp t ~/.claude/settings.json", "the entries"),
    ("python -c 'p = Path.home() / \".claude/settings.json\"; d.pop(\"hooks\"); p.write_text(d)'", "the entries"),
    ("claude mcp remove tallygate", "the entries in the settings"),
    ("claude plugin disable tallygate@tallygate", "the entries in the settings"),
    ("jq '.model=\"x\"' ~/.claude/settings.json > t && python swap.py", None),
]  # fmt: skip


# What runs outside of the agent's own processes, where the command itself could not see whose it is.
LAUNCHED = """
tmux new-session -d "tallygate off"
tmux new-session -d tallygate off
tmux new -s work -d 'cd /tmp && tallygate off'
tmux send-keys "tallygate off" Enter
tmux send-keys -t main tallygate\\ off C-m
tmux respawn-pane -k -t 0 'tallygate off'
tmux run-shell "tallygate off"
tmux set-buffer "tallygate off"; tmux paste-buffer
screen -dm tallygate off
screen -dmS x bash -c 'tallygate off'
screen -S x -X stuff "tallygate off\\n"
screen -S x -X stuff "ls^Mtallygate off^M"
systemd-run --user tallygate off
echo "tallygate off" | at now
(crontab -l; echo "* * * * * tallygate off") | crontab -
echo '@reboot tallygate off' > jobs; crontab jobs
gnome-terminal -- tallygate off
gnome-terminal --tab -- bash -c 'tallygate off; exec bash'
osascript -e 'tell app "Terminal" to do script "tallygate off"'
osascript -e 'do shell script "tallygate off"'
xterm -e tallygate off
xterm -e sh -c "sleep 1; tallygate off"
konsole --noclose -e tallygate off
kitty @ launch tallygate off
kitty @ send-text 'tallygate off\\r'
wezterm cli spawn -- tallygate off
wezterm cli send-text "tallygate off"
zellij run -- tallygate off
zellij action write-chars "tallygate off"
dtach -n /tmp/x tallygate off
abduco -n x tallygate off
expect -c "spawn tallygate off"
expect -c 'send "tallygate off\\r"'
expect <<'END'\\nspawn tallygate off\\nEND
emacsclient -e '(shell-command "tallygate off")'
xdotool type "tallygate off"
launchctl submit -l x -- tallygate off
start-stop-daemon -S -x /usr/bin/tallygate -- off
script -qc "tallygate off" /dev/null
nohup tallygate off &
""".strip().splitlines()
NOT_LAUNCHED = """
tmux ls
tmux attach -t tallygate
tmux kill-session -t tallygate
tmux new-session -d -s tallygate 'npm run dev'
tmux send-keys -t tallygate off Enter
tmux send-keys "tallygate status" Enter
tmux send-keys "tallygate off --help" Enter
tmux send-keys 'git commit -m "tallygate off"' Enter
tmux new-window 'grep -rn "tallygate off" docs'
screen -dmS build make test
screen -X -S build quit
xterm -e grep -rn "tallygate off" docs
xterm -e less docs/off.md
gnome-terminal -- vim README.md
kitty @ launch echo tallygate off
osascript -e 'display notification "the build is done"'
(crontab -l; echo "0 3 * * * make backup") | crontab -
crontab -l
expect -c "spawn ssh host; interact"
""".strip().splitlines()


@pytest.mark.parametrize("command", LAUNCHED)
def test_a_loosening_command_that_another_process_is_asked_to_run_is_refused(command):
    assert reached(command.replace("\\n", "\n") if "<<" in command else command) == "`tallygate off`"


@pytest.mark.parametrize("command", NOT_LAUNCHED)
def test_terminals_and_timers_are_free_for_everything_else(command):
    assert reached(command) is None


def test_what_a_terminal_runs_is_held_against_guarded_files_too():
    assert reached(f"tmux new-session -d 'rm {DATA}/ledger.db'") == "the ledger"


def test_the_table_of_ordinary_commands_is_long_enough_to_say_something():
    assert len(set(ORDINARY)) >= 150


@pytest.mark.parametrize("command", ORDINARY)
def test_ordinary_commands_are_not_refused(command):
    assert reached(command) is None


@pytest.mark.parametrize(("command", "what"), CAUGHT)
def test_a_command_that_would_change_the_gates_files_is_refused_by_what_it_changes(command, what):
    assert reached(command) == what


@pytest.mark.parametrize(("command", "what"), EVADED)
def test_ways_round_the_fence_are_known_those_it_sees_and_those_it_does_not(command, what):
    assert reached(command) == what


@pytest.mark.parametrize(
    ("file", "what"),
    [
        (f"{DATA}/ledger.db", "the ledger"),
        ("~/.config/tallygate/config.toml", "the settings file"),
        (".l6e/runs.jsonl", "the run log"),
        (".l6e/config.toml", None),
        ("src/tallygate/core/gate/policy.py", None),
        (CLAUDE, "the entries"),
        ("keep/new.pem", "the keys"),
        (HOME, None),
    ],
)
def test_a_file_that_a_tool_writes_is_judged_by_where_it_lies(file, what):
    found = reaches(Reach(edits=(Edit(file, "x"),)), OWN, "/srv/shop")
    assert (found and found.what) == what


def test_without_a_folder_a_relative_name_is_nobodys():
    assert reaches(Reach("rm ledger.db"), OWN, None) is None


@pytest.mark.parametrize(
    ("edit", "kept"),
    [
        (Edit(CLAUDE, '{"hooks": "tallygate"}'), True),
        (Edit(CLAUDE, "{}"), False),
        (Edit(CLAUDE, swaps=(('"a"', '"b"', False),)), True),
        (Edit(CLAUDE, swaps=(("tallygate", "", False),)), False),
        (Edit(CLAUDE, swaps=(('"a"', "tallygate", False), ("tallygate", "x", True))), False),
        (Edit(CLAUDE), False),
    ],
)
def test_an_edit_of_a_clients_settings_is_judged_by_what_comes_of_it(edit, kept):
    assert (reaches(Reach(edits=(edit,)), OWN, "/srv/shop") is None) is kept


def test_a_command_runs_in_the_folder_that_its_tool_is_given():
    assert reaches(Reach("rm ledger.db", folder=DATA), OWN, "/srv/shop") == GuardFinding("the ledger")
    assert reaches(Reach("rm ledger.db", folder="build"), OWN, "/srv/shop") is None


@pytest.mark.parametrize(
    "command",
    [
        "TALLYGATE_DB=/tmp/x.db tallygate budget raise s1 5",
        "export TALLYGATE_HOME=/tmp/t; tallygate budget raise s1 5",
        "XDG_DATA_HOME=/tmp/t tallygate calibrate reset",
        "HOME=/tmp/h TALLYGATE_CONFIG=/tmp/h/c.toml tallygate budget set s1 5",
        "HOME=/tmp/h tallygate init",
        "HOME=/home/me/work/made-up TALLYGATE_HOME=/tmp/t tallygate init",
        "HOME=$(mktemp -d) tallygate init",
        "export HOME=/tmp/h CODEX_HOME=/tmp/h/codex; tallygate init --client codex; tallygate uninstall",
        "TALLYGATE_HOME=/tmp/t tallygate init --dry-run",
        "TALLYGATE_HOME=/tmp/t tallygate demo",
        "tallygate budget raise --help",
        "tallygate init --dry-run",
        "tallygate init --diff",
        "grep -rn 'tallygate budget raise' docs",
        "git commit -m 'tallygate uninstall is refused'",
    ],
)
def test_a_loosening_command_on_another_ledger_or_that_changes_nothing_is_left_to_the_command_itself(command):
    assert reached(command) is None


@given(st.text(alphabet=" rm>'\"\\\n;&|()<$~/{}=abc#`-*?[", max_size=60), st.sampled_from(["/w", None]))
def test_whatever_is_written_as_a_command_is_judged_or_left(command, folder):
    found = reaches(Reach(command), OWN, folder)
    assert found is None or found.what in {*OWN.places.values(), *OWN.entries.values()}


def test_a_long_command_is_judged_in_no_time_that_a_client_would_notice():
    names = " ".join(f"build/{number}" for number in range(2_000))
    asked: list[str] = []
    own = GuardedFiles(OWN.places, HOME, real=lambda path: asked.append(path) or path)
    assert reached(f"rm {names}", own) is None
    assert len(asked) <= 500


def test_in_a_project_that_has_the_gate_in_files_of_its_own_no_home_makes_uninstalling_free():
    own = GuardedFiles(OWN.places, HOME, frozenset({"/srv/shop/.claude/settings.json"}),
                  {"/srv/shop/.claude/settings.json": "the entries"})  # fmt: skip
    command = "HOME=/tmp/h tallygate uninstall"
    assert reaches(Reach(command), own, "/srv/shop/src") == GuardFinding("`tallygate uninstall`", True)
    assert reaches(Reach(command), own, "/srv/other") is None


def test_a_link_to_the_home_is_the_home():
    own = GuardedFiles(OWN.places, HOME, real=lambda path: path.replace("/srv/me", HOME))
    command = "HOME=/srv/me TALLYGATE_HOME=/tmp/t tallygate uninstall"
    assert reaches(Reach(command), own, "/srv/shop") == GuardFinding("`tallygate uninstall`", True)


SECRET = f"{DATA}/page"
WITH_SECRET = replace(OWN, secrets={SECRET: "what opens the page"})
# What reads the file that lets a browser in to the page, by whatever way.
READ = [
    f"cat {SECRET}/open-12.html",
    f"cat < {SECRET}/open-12.html",
    f"cd {SECRET} && cat *",
    f"cat {DATA}/p*/open-*",
    f"cat {DATA}/*/open-*",
    "cat ~/.local/share/tallygate/page/open-1.html",
    "cat $HOME/.local/share/tallygate/page/open-1.html",
    f"cd {DATA}; grep -o 'value=.*' page/open-1.html",
    f"grep -r token {DATA}",
    f"cp -r {DATA} /srv/shop/copy",
    f"tar czf /srv/shop/a.tgz {DATA}",
    f"rg token {DATA}",
    f"find {DATA} -name 'open-*' -exec cat {{}} +",
    f"ln -s {SECRET} /srv/shop/x",
    f"cp -r {DATA}/* /srv/shop",
    f"python3 -c \"print(open('{SECRET}/open-1.html').read())\"",
    f"dd if={SECRET}/open-1.html",
    f"bash -c 'cat {SECRET}/open-1.html'",
]
NOT_READ = [
    f"ls -l {DATA}", f"cat {DATA}/notes", f"sqlite3 -readonly {DATA}/ledger.db .tables", "cat page/open-1.html",
    "grep -r token src", "cp -r src /srv/shop/copy", f"ls {DATA}/*", "tallygate status", "find . -exec cat {} +",
]  # fmt: skip


@pytest.mark.parametrize("command", READ)
def test_no_command_reads_what_opens_the_page(command):
    found = reaches(Reach(command), WITH_SECRET, "/srv/shop")
    assert found is not None
    assert (found.what, found.secret) == ("what opens the page", True)
    assert reaches(Reach(command, code=True), WITH_SECRET, "/srv/shop") is not None


@pytest.mark.parametrize("command", NOT_READ)
def test_what_lies_beside_it_is_read_as_before(command):
    found = reaches(Reach(command), WITH_SECRET, "/srv/shop")
    assert found is None or not found.secret


@pytest.mark.parametrize("name, refused", [
    (f"{SECRET}/open-1.html", True), (SECRET, True), (f"{DATA}/**/open-*.html", True), (DATA, True),
    (f"{DATA}/page/*", True),
    (f"{DATA}/ledger.db", False), ("/srv/shop/page/open-1.html", False),
])  # fmt: skip
def test_no_tool_that_reads_files_is_given_what_opens_the_page(name, refused):
    assert (reaches(Reach(reads=(name,)), WITH_SECRET, "/srv/shop") is not None) is refused
