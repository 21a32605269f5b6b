#!/bin/sh
# SPDX-License-Identifier: ISC
# The plain build's iofaults: every call of the operations that make few. (make check runs it with sanitizers, at fewer.)
exec "${PENNY_BUILD:-build}/tests/crash/iofaults" 2>/dev/null
