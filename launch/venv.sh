# Helpers that the launch scripts share; source it from the repository's root.

# Prints a Python of version 3.11 or newer; PYTHON names one explicitly.
find_python() {
  local name
  for name in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
    if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  echo "No Python >= 3.11 was found; set PYTHON=/path/to/python3.11 (or newer)." >&2
  return 1
}

# install_into FOLDER PACKAGE...: makes a virtual environment (kept if it is there) and installs into it.
install_into() {
  local folder="$1" python
  shift
  if [ ! -x "$folder/bin/python" ]; then
    python="$(find_python)"
    "$python" -m venv "$folder"
  fi
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}
