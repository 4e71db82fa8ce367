# Two commands do all set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadgroup
XRAY_DATA ?= ../shared/data

.PHONY: install demo test check full lint models models-ablation bench bench-inference bench-accession pictures clean

$(VENV)/.installed: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

install: $(VENV)/.installed

demo: install            ## run the node on sample studies and show what came back
	$(BIN)/dicom-node demo

test: install            ## the whole suite; tests whose outside peer is missing are skipped
	$(PYTEST)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint              ## the fast loop, under two minutes: no whole nodes, peers or real images
	$(PYTEST) -q -m "not slow and not peer and not data" \
	    --ignore tests/system

full: lint               ## everything: peers are required, not skipped
	REQUIRE_PEERS=1 $(PYTEST)

models: install          ## retrain both shipped models from the real images (resumable)
	$(BIN)/pip install --quiet --editable '.[train]'
	$(BIN)/python -m inference.training.shipped.bodypart --data $(XRAY_DATA)
	$(BIN)/python -m inference.training.shipped.chest --data $(XRAY_DATA)
	$(BIN)/python -m inference.training.shipped.baselines --data $(XRAY_DATA) --model inference/models/bodypart
	$(BIN)/python -m inference.training.shipped.baselines --data $(XRAY_DATA) --model inference/models/chest-findings
	$(BIN)/python -m inference.evaluation.shipped.disturbed --data $(XRAY_DATA) --model inference/models/bodypart
	$(BIN)/python -m inference.evaluation.shipped.disturbed --data $(XRAY_DATA) --model inference/models/chest-findings

models-ablation: install ## what helps the chest model: one change at a time, cross-validated
	$(BIN)/pip install --quiet --editable '.[train]'
	$(BIN)/python -m inference.training.shipped.ablation --data $(XRAY_DATA)

bench: install           ## images received a second, beside Orthanc and DCMTK, and time to report
	$(BIN)/python -m tests.bench.bench_receive
	$(BIN)/python -m tests.bench.bench_report

bench-inference: install ## images seen and explained a second, beside the naive recipe, in one run
	$(BIN)/python -m tests.bench.bench_inference

bench-accession: install ## misfiled images found and put right, by cross-validation
	$(BIN)/pip install --quiet --editable '.[train]'
	$(BIN)/python -m tests.bench.bench_accession --data $(XRAY_DATA)

pictures: install        ## take the pictures of docs/images again: Orthanc, OHIF (by npm), Chromium
	$(BIN)/python -m tests.browser.pictures

clean:
	rm -rf $(VENV) build dist .work *.egg-info .pytest_cache .mypy_cache .ruff_cache
