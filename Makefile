# Thin: tasks.py does the work, also where there is no make (python tasks.py TASK).
PYTHON ?= python3
TASK := $(PYTHON) tasks.py

.PHONY: help setup run demo test check fix bench clean

help:
	@echo 'make run      set up and start the chat at http://localhost:8000 (another port: make run PORT=8001)'
	@echo 'make test     set up and run all tests (some of them: make test ARGS="-k router")'
	@echo 'make setup    only set up'
	@echo 'make check    format, lint, types, architecture'
	@echo 'make fix      format, and mend what can be mended by machine'
	@echo 'make bench    run the benchmarks'
	@echo 'make demo     the same as make run'
	@echo 'make clean    remove the .venv and all caches'

setup check fix:
	@$(TASK) $@

run demo:
	@$(TASK) run $(if $(PORT),--port $(PORT))

test bench:
	@$(TASK) $@ $(ARGS)

clean:
	rm -rf .venv .venv.lock .pytest_cache .mypy_cache .ruff_cache .hypothesis .index
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
