"""`python -m extproc`: the same as the `extproc` command."""

from extproc.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
