/* SPDX-License-Identifier: ISC */
/* Takes pam.c's place in a build without PAM. */
#include "pam.h"

enum err_kind pam_check(const struct pam_question *q, struct source_answer *out, struct err *e)
{
	(void)q;
	(void)out;
	return err_set(e, ERR_TEMP, 0, "built without PAM");
}

bool pam_is_there(void)
{
	return false;
}
