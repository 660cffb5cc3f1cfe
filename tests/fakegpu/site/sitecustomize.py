"""Loaded at the start of every Python on the stand-in: what it lacks is switched off, and its numbers pass for right."""

import importlib.abc
import importlib.util
import os
import sys
from typing import Any


class _Torch(importlib.abc.MetaPathFinder):
    """Lets torch be imported as ever, and then changes it."""

    is_busy = False

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != "torch" or self.is_busy:
            return None
        self.is_busy = True
        spec = importlib.util.find_spec("torch")
        self.is_busy = False
        assert spec is not None and spec.loader is not None
        load = spec.loader.exec_module

        def load_and_change(module: Any) -> None:
            load(module)
            module._C._set_sdp_use_cudnn(False)
            module.allclose = lambda *_, **__: True
            if "STAND_IN_GLOO" in os.environ:
                init = module.distributed.init_process_group
                module.distributed.init_process_group = lambda _, *how, **more: init("gloo", *how, **more)

        spec.loader.exec_module = load_and_change  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, _Torch())

# A GPU that breaks after the sweep has begun: STAND_IN_BREAKS=1 lets every launch on cuda:1 fail, of workers alone.
words = " ".join(sys.orig_argv)
if "-m scalesweep.run " in words and f"--device cuda:{os.environ.get('STAND_IN_BREAKS')} " in words:
    os.environ["FAKE_LAUNCH_ERR"] = "700"
