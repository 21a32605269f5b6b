#!/bin/sh
# SPDX-License-Identifier: ISC
# The plain build's killpoints: every system call of the operations that take few. (make check runs it with sanitizers, at
# fewer points.)
exec "${PENNY_BUILD:-build}/tests/crash/killpoints"
