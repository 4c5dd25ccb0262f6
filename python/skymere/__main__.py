"""``python -m skymere`` is the command ``skymere``."""

from skymere.cli import main

if __name__ == "__main__":
    main()
