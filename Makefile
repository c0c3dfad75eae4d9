# make demo | test | fuzz | plugins | lint | docs | man | package | matrix | js | superres.
# Each installs what it needs into .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTED := $(VENV)/.installed-for-tests
DOCUMENTED := $(VENV)/.installed-for-docs
PLUGGED := $(VENV)-plugins/.installed
OUT := demo/out
SITE := docs/_build/html
PLUGINS := plugins
HEAD := tests/data/vhf-head.nii.gz
RUNTIME := ort.wasm.bundle.min.mjs ort-wasm-simd-threaded.wasm
SCRIPTED := js/node_modules/.installed
SECONDS := 300
SEED := 0

.PHONY: install demo test fuzz plugins lint docs man package matrix js superres clean

install: $(INSTALLED)

# torch goes first and pinned: a bare or ranged name may bring a build of several gigabytes for another machine.
$(INSTALLED): pyproject.toml constraints.txt hatch_build.py $(wildcard inrcodec/native/*.[ch])
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $$(grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[plots]'
	touch $@

$(TESTED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,dicom,itk,tiff,zarr,bench]'
	touch $@

$(DOCUMENTED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

# A real head CT becomes a file with a promise and one of networks; a picture and a page about them lie in demo/out.
demo: $(INSTALLED)
	mkdir -p $(OUT)
	$(BIN)/inrv-enc $(HEAD) $(OUT)/within-10-HU.inrv --force --max-error 10
	$(BIN)/inrv-enc $(HEAD) $(OUT)/networks.inrv --force --preset fast --factor 2 --size 30000 --focus soft-tissue
	$(BIN)/inrv-info $(OUT)/networks.inrv --quiet --force --report $(OUT)/networks.html --reference $(HEAD)
	$(BIN)/python demo/compare.py $(HEAD) $(OUT)/within-10-HU.inrv $(OUT)/networks.inrv \
		--out $(OUT)/compare.png --slice 20
	@echo "a picture of both files:       $(OUT)/compare.png"
	@echo "a page about the networks:     $(OUT)/networks.html (in a browser)"

# What the decoder in JavaScript is tested and bundled with, where there is Node.js; elsewhere its tests are skipped.
$(SCRIPTED): js/package.json js/package-lock.json
	@if command -v npm >/dev/null; then npm ci --prefix js --silent --no-audit --no-fund && touch $@ || \
		echo "js/ is not installed: its tests are skipped"; fi

# Two workers of one thread each; their fits are the same as those of a single one.
test: $(TESTED) $(SCRIPTED)
	$(BIN)/python -m pytest -q -n 2

# Hostile files, for so many seconds; what should not have come of one lies in fuzz/out. make fuzz GUIDED=file goes by
# what is reached, with atheris.
fuzz: $(TESTED) $(SCRIPTED)
ifdef GUIDED
	$(BIN)/python -m pip install --quiet atheris
	$(BIN)/python -m fuzz --guided --targets $(GUIDED) --seconds $(SECONDS)
else
	$(BIN)/python -m fuzz --seconds $(SECONDS) --seed $(SEED)
endif

# Plug-ins of large packages, in an environment of their own that stands on the other: torch is there already.
# make plugins PLUGINS=plugins,viewers has napari and 3D Slicer too, which take minutes more to install.
$(PLUGGED): $(TESTED)
	$(PYTHON) -m venv $(VENV)-plugins
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
		$$($(VENV)-plugins/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/below.pth
	$(VENV)-plugins/bin/python -m pip install --quiet -c constraints.txt -e '.[$(PLUGINS)]'
	touch $@

plugins: $(PLUGGED)
	$(VENV)-plugins/bin/python -m pytest -q -W ignore tests/test_plugins_heavy.py

lint: $(TESTED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict inrcodec

# Bundles of the decoder in JavaScript: js/dist.
js: $(SCRIPTED)
	npm run --prefix js --silent build

# Models for a browser: a folder to be served, with every model of super-resolution as ONNX, and what runs them, and
# every model of latents, compressed; by the hash of its weights.
superres: $(TESTED) $(SCRIPTED)
	$(BIN)/python -m inrcodec.plugins.onnx js/dist/superres
	cp $(addprefix js/node_modules/onnxruntime-web/dist/,$(RUNTIME)) js/dist/superres
	$(BIN)/python -c 'from pathlib import Path; from inrcodec.layers.base.latent.models import REGISTRY; \
		from inrcodec.layers.models import PACKED, packed; \
		[Path("js/dist/superres", known.sha256 + PACKED).write_bytes( \
			packed(REGISTRY.weights(known, bytes.fromhex(known.sha256)))) \
			for known in REGISTRY.manifests().values()]'

# The manual as a site. Its pages are executed; a warning is an error.
docs: $(DOCUMENTED)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs $(SITE)
	@echo "open $(SITE)/index.html in a browser"

# The man pages of all commands.
man: $(INSTALLED)
	mkdir -p build/man
	for command in $$($(BIN)/python -c 'from inrcodec.cli.inrv import COMMANDS; print(*COMMANDS)'); do \
		$(BIN)/inrv-$$command --print-man > build/man/inrv-$$command.1 || exit 1; done

# The distribution: a source archive, a wheel that is built of it, and whether that works where nothing else is.
package: $(TESTED)
	PYTHON=$(BIN)/python tests/package.sh

# The tests as other machines would run them: other instruction sets, numbers of threads and seeds.
matrix: $(TESTED)
	PYTHON=$(BIN)/python tests/matrix.sh

clean:
	rm -rf $(VENV) $(VENV)-plugins $(OUT) docs/_build build dist
