/* SPDX-License-Identifier: ISC */
/* Parent and child share one pipe. Invariant: ERR_OK is returned only after the child has written one whole
 * answer that bears the nonce chosen for this question; whatever a module prints, returns or does to the
 * process gives no yes. The child is gone, with its process group, when pam_check returns. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <security/pam_appl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../libbase/buf.h"
#include "../libbase/clock.h"
#include "../libserve/digest.h"
#include "../libserve/username.h"
#include "account.h"
#include "pam.h"

enum {
	PAM_MESSAGES_MAX = 16,		/* in one transaction */
	PAM_MESSAGE_MAX_OCTETS = 4096,
	PAM_NONCE_OCTETS = 16,
	PAM_END_MS = 1000,		/* for pam_end, after the answer */
	ANSWER_FD = 3,
};

/* Why a question is refused; the index goes through the pipe. */
static const struct pam_reason {
	int code;
	enum err_kind kind;
	const char *word;
} reasons[] = {
	{ PAM_SUCCESS, ERR_OK, "ok" },
	{ PAM_AUTH_ERR, ERR_DENIED, "wrong-password" },
	{ PAM_USER_UNKNOWN, ERR_DENIED, "unknown-user" },
	{ PAM_MAXTRIES, ERR_DENIED, "too-many-tries" },
	{ PAM_PERM_DENIED, ERR_DENIED, "not-permitted" },
	{ PAM_CRED_INSUFFICIENT, ERR_DENIED, "not-permitted" },
	{ PAM_ACCT_EXPIRED, ERR_DENIED, "expired" },
	{ PAM_CRED_EXPIRED, ERR_DENIED, "expired" },
	{ PAM_AUTHTOK_EXPIRED, ERR_DENIED, "password-expired" },
	{ PAM_NEW_AUTHTOK_REQD, ERR_DENIED, "password-expired" },
	{ PAM_CONV_ERR, ERR_DENIED, "asks-for-more" },
	/* All else is the system's fault, and no answer to the question. Must stay last. */
	{ -1, ERR_TEMP, "no answer" },
};
enum { REASON_UNKNOWN_USER = 2, REASON_NOT_PERMITTED = 4, REASON_NO_ANSWER = COUNTOF(reasons) - 1 };

struct pam_answer {
	uint8_t nonce[PAM_NONCE_OCTETS];
	uint32_t reason;
	int32_t code;
	char user[AUTH_USER_MAX_OCTETS + 1];
};
_Static_assert(sizeof(struct pam_answer) <= 512, "written at once: PIPE_BUF");

/* -- in the child -- */

struct talk {
	struct str password;
	bool told;			/* the password is given once */
	int messages;
};

static bool converse_one(struct talk *t, const struct pam_message *m, struct pam_response *r)
{
	if (++t->messages > PAM_MESSAGES_MAX ||
	    (m->msg != NULL && strnlen(m->msg, PAM_MESSAGE_MAX_OCTETS + 1) > PAM_MESSAGE_MAX_OCTETS))
		return false;
	if (m->msg_style == PAM_TEXT_INFO || m->msg_style == PAM_ERROR_MSG)
		return true;
	if (m->msg_style != PAM_PROMPT_ECHO_OFF || t->told)
		return false;
	t->told = true;
	r->resp = strndup(t->password.p, t->password.n);
	return r->resp != NULL;
}

static int converse(int n, const struct pam_message **m, struct pam_response **out, void *data)
{
	struct pam_response *r;

	if (n <= 0 || n > PAM_MESSAGES_MAX || (r = calloc((size_t)n, sizeof *r)) == NULL)
		return PAM_CONV_ERR;
	for (int i = 0; i < n; i++) {
		if (converse_one(data, m[i], &r[i]))
			continue;
		for (int j = 0; j < n; j++) {
			if (r[j].resp != NULL)
				secret_wipe(r[j].resp, strlen(r[j].resp));
			free(r[j].resp);
		}
		free(r);
		return PAM_CONV_ERR;
	}
	*out = r;
	return PAM_SUCCESS;
}

/* PAM_FAIL_DELAY: authd delays by itself, and the same for everybody. */
static void no_delay(int code, unsigned us, void *data)
{
	(void)code;
	(void)us;
	(void)data;
}

/* "pennypost-imap" where the administrator has set it up, else "pennypost". */
static const char *service_name(const char *service, char *space, size_t n)
{
	static const char *const dirs[] = { "/etc/pam.d", "/usr/lib/pam.d" };

	for (size_t i = 0; i < COUNTOF(dirs); i++) {
		int len = snprintf(space, n, "%s/pennypost-%s", dirs[i], service);

		if (len > 0 && (size_t)len < n && access(space, R_OK) == 0)
			return strrchr(space, '/') + 1;
	}
	return "pennypost";
}

static int set_items(pam_handle_t *h, const struct pam_question *q)
{
	void (*delay)(int, unsigned, void *) = no_delay;
	const void *delay_item;
	int code;

	memcpy(&delay_item, &delay, sizeof delay_item);
	code = pam_set_item(h, PAM_RHOST, strcmp(q->peer_ip, "local") == 0 ? "localhost" : q->peer_ip);
	if (code == PAM_SUCCESS)
		code = pam_set_item(h, PAM_TTY, q->service);
	if (code == PAM_SUCCESS)
		code = pam_set_item(h, PAM_USER, q->user);
	if (code == PAM_SUCCESS)
		code = pam_set_item(h, PAM_FAIL_DELAY, delay_item);
	return code;
}

static uint32_t reason_of(int code)
{
	uint32_t ix = 0;

	while (ix < REASON_NO_ANSWER && reasons[ix].code != code)
		ix++;
	return ix;
}

/* Accounts that are not for mail are not even asked for: a guesser can neither try nor lock root's password
 * here. An unknown name goes through PAM all the same, which takes its time over it. */
static bool is_barred(const struct pam_question *q, struct pam_answer *a)
{
	enum err_kind r = account_find(q->user, q->min_uid, a->user, NULL);

	if (r == ERR_DENIED)
		a->reason = REASON_NOT_PERMITTED;
	return r == ERR_DENIED;
}

/* The name that PAM made of it, as the name service spells it. */
static void find_canonical(pam_handle_t *h, const struct pam_question *q, struct pam_answer *a)
{
	const void *user = NULL;
	enum err_kind r = ERR_DENIED;

	if (pam_get_item(h, PAM_USER, &user) == PAM_SUCCESS && user != NULL &&
	    name_is_valid(str_of(user)))
		r = account_find(user, q->min_uid, a->user, NULL);
	if (r == ERR_NOENT)
		a->reason = REASON_UNKNOWN_USER;
	else if (r == ERR_DENIED)
		a->reason = REASON_NOT_PERMITTED;
	else if (r != ERR_OK)
		a->reason = REASON_NO_ANSWER;
}

static void child_answer(struct pam_answer *a)
{
	ssize_t n;

	do
		n = write(ANSWER_FD, a, sizeof *a);
	while (n < 0 && errno == EINTR);
	close(ANSWER_FD);
}

static void child_ask(const struct pam_question *q, struct pam_answer *a)
{
	struct talk talk = { .password = q->password };
	const struct pam_conv conv = { converse, &talk };
	const int flags = PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK;
	char space[128];
	pam_handle_t *h = NULL;
	int code;

	if (is_barred(q, a)) {
		child_answer(a);
		return;
	}
	code = pam_start(service_name(q->service, space, sizeof space), q->user, &conv, &h);
	if (code == PAM_SUCCESS)
		code = set_items(h, q);
	if (code == PAM_SUCCESS)
		code = pam_authenticate(h, flags);
	if (code == PAM_SUCCESS && (code = pam_acct_mgmt(h, flags)) == PAM_AUTH_ERR)
		code = PAM_PERM_DENIED;		/* pam_deny's word; the password was right */
	a->code = code;
	a->reason = reason_of(code);
	if (code == PAM_SUCCESS)
		find_canonical(h, q, a);
	child_answer(a);
	if (h != NULL)
		pam_end(h, code | PAM_DATA_SILENT);
}

/* Modules find nothing of authd: no descriptors, no signal handlers, no environment. */
static bool child_clean(int pipe_fd, pid_t parent)
{
	const struct rlimit no_core = { 0, 0 };
	int null;

	setsid();			/* a group of its own, to be killed as one */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		return false;
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	setrlimit(RLIMIT_CORE, &no_core);
	clearenv();
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	/* Out of the way of 0 to 3, whichever of those are open. */
	pipe_fd = fcntl(pipe_fd, F_DUPFD, ANSWER_FD + 1);
	null = open("/dev/null", O_RDWR);
	if (pipe_fd < 0 || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 ||
	    dup2(pipe_fd, ANSWER_FD) < 0 || fcntl(ANSWER_FD, F_SETFD, FD_CLOEXEC) != 0)
		return false;
	return close_range(ANSWER_FD + 1, ~0U, 0) == 0;
}

NORETURN static void child_main(const struct pam_question *q, const uint8_t *nonce, int fd, pid_t parent)
{
	struct pam_answer a = { .reason = REASON_NO_ANSWER };

	memcpy(a.nonce, nonce, sizeof a.nonce);
	if (child_clean(fd, parent))
		child_ask(q, &a);
	_exit(0);
}

/* -- in the parent -- */

/* One whole answer, or not. */
static enum err_kind read_answer(int fd, uint64_t deadline, struct pam_answer *a, struct err *e)
{
	size_t got = 0;

	while (got < sizeof *a) {
		uint64_t now = clock_mono_ms();
		struct pollfd p = { fd, POLLIN, 0 };
		ssize_t n;

		if (now >= deadline)
			return err_set(e, ERR_TEMP, 0, "PAM did not answer in time");
		if (poll(&p, 1, (int)(deadline - now)) <= 0)
			continue;
		n = read(fd, (char *)a + got, sizeof *a - got);
		if (n == 0)
			return err_set(e, ERR_TEMP, 0, "a PAM module ended its process");
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return err_set(e, ERR_TEMP, errno, "pipe from PAM's process");
		if (n > 0)
			got += (size_t)n;
	}
	return ERR_OK;
}

/* Waits until `until` for the child, which tidies up behind its answer; then nothing of its group is left. */
static void child_end(pid_t pid, int fd, uint64_t until)
{
	siginfo_t info;

	while (clock_mono_ms() < until) {
		info.si_pid = 0;
		if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != 0)
			break;
		poll(NULL, 0, 1);
	}
	close(fd);
	kill(-pid, SIGKILL);
	kill(pid, SIGKILL);		/* had it not reached setsid yet */
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static enum err_kind judge(const struct pam_answer *a, const uint8_t *nonce, struct source_answer *out,
    struct err *e)
{
	const struct pam_reason *r;

	if (!digest_equal(a->nonce, nonce, PAM_NONCE_OCTETS) || a->reason >= COUNTOF(reasons) ||
	    memchr(a->user, '\0', sizeof a->user) == NULL)
		return err_set(e, ERR_TEMP, 0, "PAM's process wrote something else");
	r = &reasons[a->reason];
	if (r->kind == ERR_OK && !name_is_valid(str_of(a->user)))
		return err_set(e, ERR_TEMP, 0, "PAM's process named no user");
	if (r->kind == ERR_OK)
		name_copy(out->user, str_of(a->user));
	else if (r->kind == ERR_DENIED)
		out->reason = r->word;
	return r->kind == ERR_OK ? ERR_OK :
	    err_set(e, r->kind, 0, "PAM says %s (%d)", r->word, (int)a->code);
}

enum err_kind pam_check(const struct pam_question *q, struct source_answer *out, struct err *e)
{
	uint64_t deadline = clock_mono_ms() + q->timeout_ms;
	struct pam_answer a = { 0 };
	uint8_t nonce[PAM_NONCE_OCTETS];
	pid_t parent = getpid(), pid;
	enum err_kind r;
	int p[2];

	if (digest_random(nonce, sizeof nonce, e) != ERR_OK)
		return ERR_TEMP;
	if (pipe2(p, O_CLOEXEC) != 0)
		return err_set(e, ERR_TEMP, errno, "pipe for PAM's process");
	pid = fork();
	if (pid == 0)
		child_main(q, nonce, p[1], parent);
	close(p[1]);
	if (pid < 0) {
		close(p[0]);
		return err_set(e, ERR_TEMP, errno, "fork for PAM");
	}
	r = read_answer(p[0], deadline, &a, e);
	child_end(pid, p[0], r == ERR_OK ? clock_mono_ms() + PAM_END_MS : 0);
	return r == ERR_OK ? judge(&a, nonce, out, e) : r;
}

bool pam_is_there(void)
{
	return true;
}
