"""Builds copy the specifications into the package; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithSpecifications(build_py):
    """Put ``specs/*.md`` into ``parity/specs`` of what is built; a checkout has them already."""

    def run(self) -> None:
        """Build the packages, then copy."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "parity" / "specs"
        target.mkdir(parents=True, exist_ok=True)
        for source in sorted(Path(__file__).parent.glob("specs/*.md")):
            shutil.copy2(source, target)


setup(cmdclass={"build_py": BuildWithSpecifications})
