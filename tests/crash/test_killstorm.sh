#!/bin/sh
# SPDX-License-Identifier: ISC
# The plain build's killstorm, at full speed. (make check runs it with sanitizers.)
exec "${PENNY_BUILD:-build}/tests/crash/killstorm"
