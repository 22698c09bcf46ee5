"""`python -m harness ...`: see harness/cli/app.py."""

from harness.cli.app import main

if __name__ == "__main__":
    main()
