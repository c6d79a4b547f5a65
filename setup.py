"""What pyproject.toml cannot say: the wheel carries launch/, configs/ and tools/ as they are, in one folder inside the
package, so that nothing named "launch" or "tools" lies beside other people's packages. iadgpt_jax/__main__.py finds it.

An editable install carries nothing: the commands are those of the clone.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

COMMANDS = ("launch", "configs", "tools")
FOLDER = "iadgpt_jax/_commands"  # iadgpt_jax/__main__.py looks for this name


class BuildWithCommands(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / FOLDER
        shutil.rmtree(target, ignore_errors=True)  # what an earlier build left
        for name in COMMANDS:
            shutil.copytree(name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


setup(cmdclass={"build_py": BuildWithCommands})
