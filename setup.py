"""Package metadata, read from `settings.ini` so that it is written in one place only."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(here / "settings.ini", encoding="utf-8")
settings = config["DEFAULT"]


def lines(key: str) -> list[str]:
    "The non-empty lines of a setting with one entry a line."
    return [line.strip() for line in settings.get(key, "").splitlines() if line.strip()]


extras = {"dev": lines("dev_requirements"), "wandb": lines("wandb_requirements"), "dask": lines("dask_requirements"),
          "scatter": lines("scatter_requirements"), "xray": lines("xray_requirements")}

setup(
    name=settings["lib_name"],
    version=settings["version"],
    description=settings["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    url=settings["git_url"],
    author=settings["author"],
    author_email=settings["author_email"],
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=settings["keywords"].split(),
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    python_requires=f">={settings['min_python']}",
    packages=find_packages(include=["ambiguity_nb", "ambiguity_nb.*"]),
    package_data={"ambiguity_nb": ["assets/*"]},
    install_requires=lines("requirements"),
    extras_require=extras,
    # nbdev looks up pages and sources of names here, for this project's site and for others that link to it
    entry_points={"console_scripts": lines("console_scripts"), "nbdev": ["ambiguity_nb=ambiguity_nb._modidx:d"]},
    zip_safe=False,
)
