#!/bin/sh
# Builds the C cases into the directory $1: keel-compat-c with the system's compiler (dynamic), and
# keel-compat-c-musl (static) where musl-gcc is installed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: build.sh DIRECTORY}
mkdir -p "$out"
flags="-std=gnu11 -O1 -g -Wall -Wextra -Werror -pthread"
${CC:-gcc} $flags -o "$out/keel-compat-c" "$here"/*.c -lm -lrt -ldl
if command -v musl-gcc >/dev/null; then
    musl-gcc $flags -static -o "$out/keel-compat-c-musl" "$here"/*.c -lm
else
    echo "build.sh: musl-gcc is not installed (Debian: musl-tools); only the glibc program was built" >&2
fi
