"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import inrcodec
from inrcodec.errors import MissingExtra

MODULES = [m.name for m in pkgutil.walk_packages(inrcodec.__path__, "inrcodec.")]


@pytest.mark.parametrize("name", ["inrcodec", *MODULES])
def test_examples_are_true(name):
    try:
        module = importlib.import_module(name)
    except MissingExtra as error:
        pytest.skip(str(error))
    assert doctest.testmod(module).failed == 0


def test_there_are_examples_where_a_newcomer_looks_first():
    finder = doctest.DocTestFinder()
    for name in ("inrcodec.api", "inrcodec.volume.volume", "inrcodec.encoder.options", "inrcodec.errors"):
        assert any(test.examples for test in finder.find(importlib.import_module(name))), name
