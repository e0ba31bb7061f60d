#!/usr/bin/env bash
# Runs the kernels' tests for 64-bit ARM under qemu, once for each kind of processor: plain NEON, dotprod, everything.
#
#   tests/aarch64.sh                        block types and kernels
#   tests/aarch64.sh --lib -- kernels::     what follows `cargo test --target …` otherwise
#
# Needs the aarch64-unknown-linux-gnu standard library for the Rust compiler in use (RUSTC names another one), a C cross
# compiler with a static C library, and qemu for user programs. AARCH64_CPUS lists qemu's processors. Each test learns from
# AARCH64_QEMU_CPU where it runs, and `an_emulated_processor_runs_the_sets_it_has` insists on that processor's kernel sets.
# An emulator says nothing about speed and keeps memory in stricter order than a real processor may; a test that starts a
# program of its own fails here unless the system hands ARM programs to qemu.
set -uo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-gnu
cpus=${AARCH64_CPUS:-max cortex-a76 cortex-a53}
[ $# -gt 0 ] || set -- --lib -- kernels:: quant::

missing=()
lacks() { ! command -v "$1" >/dev/null 2>&1; }
lacks cargo && missing+=("cargo: install Rust")
lacks aarch64-linux-gnu-gcc && missing+=("aarch64-linux-gnu-gcc: on Debian, gcc-aarch64-linux-gnu and libc6-dev-arm64-cross")
qemu=qemu-aarch64
lacks "$qemu" && qemu=qemu-aarch64-static
lacks "$qemu" && missing+=("qemu-aarch64 or qemu-aarch64-static: on Debian, qemu-user or qemu-user-static")
library=$("${RUSTC:-rustc}" --print target-libdir --target "$target" 2>/dev/null)
compgen -G "$library/libstd-*.rlib" >/dev/null || missing+=("Rust's standard library for $target: rustup target add $target")
if [ ${#missing[@]} -gt 0 ]; then
  printf 'missing: %s\n' "${missing[@]}" >&2
  exit 1
fi

# A static program needs no ARM libraries where it runs.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static"
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++
export AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar

failed=()
for cpu in $cpus; do
  printf '\n== %s\n' "$cpu"
  export AARCH64_QEMU_CPU=$cpu CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$qemu -cpu $cpu"
  cargo test --target "$target" "$@" || failed+=("$cpu")
done
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed on: %s\n' "${failed[*]}" >&2
  exit 1
fi
printf '\npassed on: %s\n' "$cpus"
