/* SPDX-License-Identifier: ISC */
/* deliver as a command: `deliver [-c file] [-s socket] [-f sender] [-m mailbox] user…`, the message
 * on standard input. It is a client of the suite's LMTP socket and has no rights of its own. */
#ifndef DELIVER_CLI_H
#define DELIVER_CLI_H

#include "../libbase/base.h"

/* Do these arguments ask for it (and not for the daemon)? */
bool cli_is_meant(int argc, char **argv);

/* Delivers; returns the exit status: 0, or of sysexits.h 64 usage, 65 the message was refused, 67
 * unknown user, 69 refused otherwise, 75 try again later, 78 configuration. */
int cli_main(int argc, char **argv);

#endif
