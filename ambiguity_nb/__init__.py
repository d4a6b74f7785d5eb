"""Which of my samples are hard, and why? And what does my classifier find ambiguous?"""
__version__ = "0.1.0"

_names = {  # module: the names that it lends to the front page, imported when first used
    "data": ("Samples", "from_arrays", "plot_images"),
    "sources": ("Source", "DATASETS", "from_dataframe", "from_folder", "from_torch", "load_samples", "read_samples"),
    "hardness_types": ("HARDNESS_TYPES", "inject"),
    "models": ("MODELS", "build_model", "embed"),
    "training": ("Hook", "Log", "Training", "evaluate", "fit"),
    "scores": ("SCORES", "Score", "ScoreSet", "characterize", "collect"),
    "score_plots": ("plot_data_map", "plot_hardest"),
    "gasten": ("CONFUSIONS", "Confusion", "Gan", "generate_ambiguous", "train_gan", "train_gasten"),
    "patterns": ("Clustering",),
    "study": ("generated_samples", "study_patterns"),
    "explorer": ("explore",),
    "verdicts": ("VerdictOptions", "judge_samples"),
    "latent_search": ("search_boundary", "search_rows"),
    "jobs.audit": ("AuditOptions", "audit"),
    "reviewing": ("review",),
}
_home = {name: module for module, names in _names.items() for name in names}
__all__ = ["__version__", *sorted(_home)]


def __getattr__(name: str):
    "Import a name of the front page from its module."
    if name not in _home:
        raise AttributeError(f"module 'ambiguity_nb' has no attribute {name!r}; it has {sorted(_home)}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_home[name]}"), name)


def __dir__() -> list[str]: return sorted([*globals(), *_home])
