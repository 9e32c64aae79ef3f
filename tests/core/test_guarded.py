"""Which tools are kept off the gate's own files, and that ordinary work is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.guarded import Guarded, Reach, reaches

HOME = "/home/me"
DATA = f"{HOME}/.local/share/tallygate"
OWN = Guarded(
    {
        f"{DATA}/ledger.db": "the ledger",
        f"{DATA}/ledger.db-wal": "the ledger",
        f"{DATA}/keys": "the keys",
        f"{HOME}/.config/tallygate/config.toml": "the settings file",
        "/work/shop/.l6e/runs.jsonl": "the run log",
    },
    HOME,
    frozenset({"/work/shop/.l6e/runs.jsonl"}),
)
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
mv /work/shop /work/store
cd .. && rm -rf shop
rm -f /tmp/ledger.db
rm ledger.db
rm -rf .pytest_cache .ruff_cache
rm -rf tests/__pycache__
rm src/tallygate/core/guarded.py
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
NOT_CAUGHT = [
    f"find {DATA} -name 'ledger.db' -delete",
    f"echo {DATA}/ledger.db | xargs rm",
    "echo cm0gbGVkZ2Vy | base64 -d | sh",
    f"P=$(echo {DATA}); rm $P/ledger.db",
    'python -c \'import os; os.unlink(os.environ["HOME"] + "/.local/share" + "/tallygate/ledger.db")\'',
    f"python - <<'END'\nimport os; os.unlink('{DATA}/ledger.db')\nEND",
    "python clean.py",
    "ssh localhost rm .local/share/tallygate/ledger.db",
]


def test_the_table_of_ordinary_commands_is_long_enough_to_say_something():
    assert len(set(ORDINARY)) >= 150


@pytest.mark.parametrize("command", ORDINARY)
def test_ordinary_commands_are_not_refused(command):
    assert reaches(Reach(command), OWN, "/work/shop") is None


@pytest.mark.parametrize(("command", "what"), CAUGHT)
def test_a_command_that_would_change_the_gates_files_is_refused_by_what_it_changes(command, what):
    assert reaches(Reach(command), OWN, "/work/shop") == what


@pytest.mark.parametrize("command", NOT_CAUGHT)
def test_what_the_fence_does_not_see_is_known(command):
    assert reaches(Reach(command), OWN, "/work/shop") is None


@pytest.mark.parametrize(
    ("file", "what"),
    [
        (f"{DATA}/ledger.db", "the ledger"),
        ("~/.config/tallygate/config.toml", "the settings file"),
        (".l6e/runs.jsonl", "the run log"),
        (".l6e/config.toml", None),
        ("src/tallygate/core/gate.py", None),
        (f"{HOME}/.claude/settings.json", None),
        (HOME, None),
    ],
)
def test_a_file_that_a_tool_writes_is_judged_by_where_it_lies(file, what):
    assert reaches(Reach(files=(file,)), OWN, "/work/shop") == what


def test_without_a_folder_a_relative_name_is_nobodys():
    assert reaches(Reach("rm ledger.db"), OWN, None) is None


@given(st.text(alphabet=" rm>'\"\\\n;&|()<$~/{}=abc#`-", max_size=60), st.sampled_from(["/w", None]))
def test_whatever_is_written_as_a_command_is_judged_or_left(command, folder):
    assert reaches(Reach(command), OWN, folder) in {None, *OWN.places.values()}
