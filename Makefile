# make demo | test | lint. Each installs what it needs into .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTED := $(VENV)/.installed-for-tests
OUT := demo/out

.PHONY: install demo test lint clean

install: $(INSTALLED)

# torch goes first and pinned: a bare or ranged name may bring a build of several gigabytes for another machine.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $$(grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[plots]'
	touch $@

$(TESTED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,dicom,itk,bench]'
	touch $@

# A real head CT becomes a small file and comes back; pictures side by side and a page about it lie in demo/out.
demo: $(INSTALLED)
	mkdir -p $(OUT)
	$(BIN)/inrv-enc tests/data/vhf-head.nii.gz $(OUT)/head.inrv --force
	$(BIN)/inrv-info $(OUT)/head.inrv --force --preview $(OUT)/preview.png
	$(BIN)/inrv-dec $(OUT)/head.inrv $(OUT)/head.nii.gz --force
	$(BIN)/python demo/before_after.py tests/data/vhf-head.nii.gz $(OUT)/head.nii.gz $(OUT)/before_after.png
	$(BIN)/inrv-info $(OUT)/head.inrv --quiet --force --report $(OUT)/report.html --reference tests/data/vhf-head.nii.gz
	@echo "open $(OUT)/report.html in a browser"
	@ls -l tests/data/vhf-head.nii.gz $(OUT)/head.inrv | awk '{print $$5, "bytes", $$9}'

test: $(TESTED)
	$(BIN)/python -m pytest -q

lint: $(TESTED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict inrcodec

clean:
	rm -rf $(VENV) $(OUT) build dist
