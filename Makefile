# make demo: watch it work.  make test: check it.  Both set everything up first; see make help.

VENV  := .venv/bin
INPUT ?=
OUT   ?= demo_out
LANGUAGE     ?=
CHECKPOINT   ?=
ARCHITECTURE ?=
FAST  ?=
ARGS  ?=
# What make bench runs: the scripts that need no arguments (kernels prints, the others write results).
BENCHES := kernels training_step main_job query teachers dds_images gpu
# What make weights trains, where to, and where the recordings house/ and bookstore/ are.
MODELS := gsnerf gp_nerf
# Object priors: category, its training objects (the first seeds) and steps.
PRIORS := chair:800:12000 table:500:6500 mug:400:4500 cabinet:500:6500 lamp:400:3500 bottle:400:3000
# Categories of the published prior, small: trained as srn_CATEGORY.
PUBLISHED_PRIORS := chair table
WEIGHTS_OUT ?= weights_out
SEMANTIC_FIELD_DATA ?= ../shared/data
# The folders that ruff looks at; further ones join as they come.
CODE  := $(wildcard src test benchmarks launch scripts setup.py)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-ros lint format bench weights clean

help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Settings: INPUT=folder-or-bag OUT=demo_out LANGUAGE=open_clip CHECKPOINT=file-or-folder"
	@echo "            FAST=1 | PYTHON=python3.12 | TORCH_INDEX=url"

setup:  ## Only prepare .venv (the others do so themselves)
	@bash scripts/setup.sh

demo: setup  ## Map a room and ask it questions; INPUT=... for a recording of yours
	@echo "demo: $(or $(INPUT),the simulated room) -> $(OUT)/"
	@$(VENV)/semantic-field demo $(if $(INPUT),--input '$(INPUT)') --out '$(OUT)' \
	    $(if $(LANGUAGE),--language '$(LANGUAGE)') $(if $(CHECKPOINT),--checkpoint '$(CHECKPOINT)') \
	    $(if $(ARCHITECTURE),--architecture '$(ARCHITECTURE)') $(ARGS)

test: setup  ## Style, types and all tests; FAST=1 leaves out the slow ones and the launch files
	@bash scripts/check.sh test $(if $(FAST),-m "not slow and not launch") $(ARGS)

test-ros:  ## The tests under ROS 2, in a terminal where workspace and environment are sourced
	@bash scripts/check.sh ros $(if $(FAST),-m "not slow and not launch") $(ARGS)

lint: setup  ## Style and types only
	@bash scripts/check.sh lint

format: setup  ## Bring the sources into shape
	@$(VENV)/ruff check -q --fix $(CODE) && $(VENV)/ruff format $(CODE)

bench: setup  ## Figures of this machine, into benchmarks/results/
	@set -e; for script in $(BENCHES); do echo "bench: $$script"; $(VENV)/python benchmarks/$$script.py; done

weights: setup  ## Train the small models that ship anew, into WEIGHTS_OUT; goes on where it was stopped
	@set -e; for name in $(MODELS); do \
	    echo "weights: $$name -> $(WEIGHTS_OUT)/$$name/weights.safetensors"; \
	    SEMANTIC_FIELD_DATA='$(SEMANTIC_FIELD_DATA)' $(VENV)/semantic-field train \
	        config/$${name}_small.yaml --out '$(WEIGHTS_OUT)'/$$name --resume $(ARGS); done
	@set -e; for prior in $(PRIORS); do \
	    name=$${prior%%:*}; steps=$${prior##*:}; count=$${prior#*:}; count=$${count%%:*}; \
	    echo "weights: $$name -> $(WEIGHTS_OUT)/$$name/weights.safetensors"; \
	    $(VENV)/semantic-field train-prior object_prior "objects:$$name:seed=0..$$((count - 1))" \
	        --steps $$steps --out '$(WEIGHTS_OUT)'/$$name --resume $(ARGS); done
	@set -e; for name in $(PUBLISHED_PRIORS); do \
	    echo "weights: srn_$$name -> $(WEIGHTS_OUT)/srn_$$name/weights.safetensors"; \
	    $(VENV)/semantic-field train-prior semantic_srn_small "objects:$$name:seed=0..99" \
	        --out '$(WEIGHTS_OUT)'/srn_$$name --resume $(ARGS); done

clean:  ## Remove .venv, the demo's output and caches
	rm -rf .venv demo_out build install log *.egg-info src/*.egg-info .pytest_cache .ruff_cache
