#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# qcow2 images that QEMU writes, read by byre: cluster sizes from 1M to 2M.
. "$(dirname "$0")/../lib.sh"
slow
# shellcheck source=tests/oracle/matrix.sh
. "$TEST_TOP/tests/oracle/matrix.sh"
qemu_writes_matrix 1048576 2097152
