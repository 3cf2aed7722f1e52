import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HOSTS = ("10.0.0.11", "10.0.0.12", "10.0.0.13")


def test_each_server_is_told_of_the_others_and_not_of_itself(tmp_path: Path) -> None:
    program = ROOT / "deploy" / "nats" / "make.py"
    subprocess.run([sys.executable, program, tmp_path / "cluster", *HOSTS], check=True, cwd=ROOT)
    for host in HOSTS:
        path = tmp_path / "cluster" / host / "nats.conf"
        assert path.stat().st_mode & 0o777 == 0o600
        routes = [line for line in path.read_text().splitlines() if line.startswith('"cluster"')]
        assert len(routes) == 1
        assert {h for h in HOSTS if f"@{h}:6222" in routes[0]} == set(HOSTS) - {host}
