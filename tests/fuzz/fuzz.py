"""Give a reader files of every kind: ``python tests/fuzz/fuzz.py TARGET -n 1000000``.

A reader may return, or raise an error of `skymere.errors` that names the file. Anything else (another error, a panic, a
message without the name, more than ten seconds) is written to ``FOLDER/TARGET-*``, once for each place in the code, and the
end is not 0.
"""

import argparse
import contextlib
import hashlib
import io
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import atheris

SECONDS = 10

# Importing tells every module that is instrumented.
with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=["skymere"]):
    import targets
    from fits_bytes import mutate

    from skymere.errors import SkymereError


class Fuzzed:
    """A reader under test, and the faults that it has shown."""

    def __init__(self, name: str, work: Path, out: Path) -> None:
        self.name, self.target, self.out = name, targets.TARGETS[name], out
        self.path = work / self.target.name
        self.found: set[str] = set()
        self.n = 0

    def __call__(self, data: bytes) -> None:
        """Read one file."""
        self.n += 1
        self.path.write_bytes(data)
        try:
            self.target.read(self.path)
        except SkymereError as error:
            if self.path.name not in str(error):
                self.keep(data, error, "no name of the file in: ")
        except KeyboardInterrupt:
            raise
        # A panic of Rust is no Exception.
        except BaseException as error:
            self.keep(data, error, "")

    def keep(self, data: bytes, error: BaseException, what: str) -> None:
        """Write a file that shows a fault, unless another one shows the same."""
        places = traceback.extract_tb(error.__traceback__)
        ours = [one for one in places if "/skymere/" in one.filename] or places
        where = f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno}"
        if where in self.found:
            return
        self.found.add(where)
        path = self.out / f"{self.name}-{hashlib.sha256(where.encode()).hexdigest()[:8]}"
        path.write_bytes(data)
        print(f"{self.name}: {what}{where}: {str(error)[:300]}\n  kept as {path}", file=sys.stderr, flush=True)


def fuzz(name: str, n: int, work: Path, out: Path) -> None:
    """Fuzz one target; libFuzzer ends the process."""
    one = Fuzzed(name, work, out)
    seeds = one.target.seeds(work)
    corpus = work / "corpus"
    corpus.mkdir()
    for i, seed in enumerate(seeds):
        one(seed)
        (corpus / str(i)).write_bytes(seed)
    if one.found:
        sys.exit(f"{name}: a seed shows a fault")
    most = 2 * max(map(len, seeds))
    arguments = [sys.argv[0], f"-runs={n}", f"-max_len={most}", f"-timeout={SECONDS}", "-rss_limit_mb=4096"]
    arguments += [f"-artifact_prefix={out}/{name}-", "-print_final_stats=0", "-verbosity=0", str(corpus)]

    def custom(data: bytes, max_size: int, seed: int) -> bytes:
        return mutate(data, atheris.Mutate, max_size, seed)

    atheris.Setup(arguments, one, **({"custom_mutator": custom} if one.target.is_fits else {}))
    atheris.Fuzz()


def main() -> None:
    """Fuzz one target in a process of its own, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=sorted(targets.TARGETS))
    parser.add_argument("-n", type=int, default=1_000_000, help="number of files")
    parser.add_argument("-o", type=Path, default=Path("fuzz-found"), help="folder for files that show a fault")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    if asked.work:
        fuzz(asked.target, asked.n, asked.work, asked.o)
    asked.o.mkdir(parents=True, exist_ok=True)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="skymere-fuzz-", dir=memory if memory.is_dir() else None) as work:
        done = subprocess.run([sys.executable, *sys.argv, "--work", work], check=False)
    left = sorted(asked.o.glob(f"{asked.target}-*"))
    print(f"{asked.target}: {asked.n} files, {len(left)} faults" + "".join(f"\n  {path}" for path in left))
    sys.exit(bool(left) or done.returncode)


if __name__ == "__main__":
    main()
