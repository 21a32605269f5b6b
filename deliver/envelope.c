/* SPDX-License-Identifier: ISC */
/* Owns the expansion of recipients. Invariants: work is a list, not a recursion, and bounded in
 * length, depth and steps; an alias is expanded at most once for a recipient, and one that leads
 * back to itself means the user of that name (as "root: root, alice"). */
#include "envelope.h"

struct item {
	struct str name;		/* local part */
	const struct alias *from;	/* whose target it is; NULL: the recipient itself */
	int32_t parent;
	uint8_t depth;
	bool user_only;			/* no alias any more */
};

struct expansion {
	struct envelope *env;
	struct arena *scratch;
	const struct resolver *r;
	struct item *v;
	size_t n, max;
	const struct alias **done;	/* expanded already */
	size_t n_done;
	struct rcpt *rcpt;
	size_t n_unsupported;
	size_t ix;			/* the item at work */
};

bool envelope_init(struct envelope *env, struct arena *a, size_t rcpts_max)
{
	*env = (struct envelope){ .arena = a, .rcpts_max = rcpts_max };
	env->targets = arena_array(a, ENVELOPE_TARGETS_MAX, sizeof *env->targets);
	env->rcpts = arena_array(a, rcpts_max, sizeof *env->rcpts);
	return env->targets != NULL && env->rcpts != NULL;
}

static void skip(struct expansion *x, const struct alias *from, struct str target, const char *why)
{
	if (x->r->skipped != NULL)
		x->r->skipped(x->r->ctx, from != NULL ? from->name : STR(""), target, why);
}

static enum err_kind add_target(struct expansion *x, const char *user, struct str folder,
    struct err *e)
{
	struct envelope *env = x->env;
	size_t ix = 0;

	while (ix < env->n_targets && !(str_eq(env->targets[ix].user, str_of(user)) &&
	    str_eq(env->targets[ix].folder, folder)))
		ix++;
	if (ix == ENVELOPE_TARGETS_MAX)
		return err_set(e, ERR_LIMIT, 0, "too many mailboxes for one message");
	if (ix == env->n_targets) {
		struct target t = { .address = x->rcpt->address };

		t.user = str_dup(env->arena, str_of(user));
		t.folder = str_dup(env->arena, folder);
		if (t.user.p == NULL || t.folder.p == NULL)
			return err_set(e, ERR_LIMIT, 0, "the envelope is too large");
		env->targets[env->n_targets++] = t;
	}
	for (size_t i = 0; i < x->rcpt->n_targets; i++)
		if (x->rcpt->targets[i] == ix)
			return ERR_OK;
	x->rcpt->targets[x->rcpt->n_targets++] = (uint32_t)ix;
	return ERR_OK;
}

static bool is_role_name(struct str name)
{
	return str_eq_nocase(name, STR("postmaster")) || str_eq_nocase(name, STR("abuse")) ||
	    str_eq_nocase(name, STR("mailer-daemon"));
}

static enum err_kind take_user(struct expansion *x, const struct item *it, struct str base,
    struct str folder, struct err *e)
{
	char canonical[256];
	enum err_kind k = x->r->user(x->r->ctx, base, canonical, e);

	if (k == ERR_NOENT && is_role_name(base) && x->r->postmaster.n > 0)
		k = x->r->user(x->r->ctx, x->r->postmaster, canonical, e);
	if (k == ERR_QUOTA && it->from != NULL)	/* the others of an alias get their mail */
		k = ERR_OK;
	if (k == ERR_OK)
		return add_target(x, canonical, folder, e);
	if (k != ERR_NOENT)
		return k;
	if (it->from != NULL)
		skip(x, it->from, it->name, "no such user");
	return ERR_OK;
}

static enum err_kind push(struct expansion *x, struct item it, struct err *e)
{
	if (it.depth > ENVELOPE_DEPTH_MAX || x->n == x->max)
		return err_set(e, ERR_LIMIT, 0, "alias %.*s expands too far",
		    STR_FMT(it.from->name));
	x->v[x->n++] = it;
	return ERR_OK;
}

static const char *const unsupported[] = {
	[ALIAS_COMMAND] = "commands are not supported and never run",
	[ALIAS_FILE] = "delivery to files is not supported",
	[ALIAS_INCLUDE] = ":include: is not supported",
};

/* The local part of a target that is an address of ours. */
static bool target_local_part(struct expansion *x, const struct alias *from, struct str text,
    struct str *out)
{
	struct mail_path p;
	struct err e;

	if (path_parse_bare(x->scratch, text, PATH_NO_DOMAIN_OK, &p, &e) != ERR_OK) {
		skip(x, from, text, "not an address");
		return false;
	}
	if (p.domain.n > 0 && !x->r->domain_is_local(x->r->ctx, p.domain)) {
		x->n_unsupported++;
		skip(x, from, text, "sending on to other sites is not supported");
		return false;
	}
	*out = p.local;
	return true;
}

static enum err_kind expand_alias(struct expansion *x, const struct alias *a, struct err *e)
{
	for (uint32_t i = 0; i < a->n; i++) {
		const struct alias_target *t = &x->r->aliases->targets[a->first + i];
		struct item it = { .from = a, .parent = (int32_t)x->ix,
			.depth = (uint8_t)(x->v[x->ix].depth + 1),
			.user_only = t->kind == ALIAS_USER };

		if (unsupported[t->kind] != NULL) {
			x->n_unsupported++;
			skip(x, a, t->text, unsupported[t->kind]);
			continue;
		}
		if (!target_local_part(x, a, t->text, &it.name))
			continue;
		if (push(x, it, e) != ERR_OK)
			return e->kind;
	}
	return ERR_OK;
}

/* Is item ix among what alias a expanded to? */
static bool comes_from(const struct expansion *x, int32_t ix, const struct alias *a)
{
	for (; ix >= 0; ix = x->v[ix].parent)
		if (x->v[ix].from == a)
			return true;
	return false;
}

static bool expanded_before(struct expansion *x, const struct alias *a)
{
	for (size_t i = 0; i < x->n_done; i++)
		if (x->done[i] == a)
			return true;
	x->done[x->n_done++] = a;
	return false;
}

static enum err_kind take_item(struct expansion *x, struct err *e)
{
	const struct item *it = &x->v[x->ix];
	struct str base = it->name, folder = STR("");
	const struct alias *a = NULL;

	if (++x->env->n_steps > ENVELOPE_STEPS_MAX)
		return err_set(e, ERR_LIMIT, 0, "too many aliases for one message");
	if (x->r->delimiter.n > 0) {
		size_t at = str_find(it->name, x->r->delimiter.p[0]);

		if (at > 0 && at < it->name.n) {
			base = str_head(it->name, at);
			folder = str_skip(it->name, at + 1);
		}
	}
	if (!it->user_only) {
		a = aliases_find(x->r->aliases, it->name);
		if (a == NULL)
			a = aliases_find(x->r->aliases, base);
	}
	if (a == NULL || comes_from(x, (int32_t)x->ix, a))
		return take_user(x, it, base, folder, e);
	return expanded_before(x, a) ? ERR_OK : expand_alias(x, a, e);
}

static enum err_kind expand(struct expansion *x, struct err *e)
{
	for (x->ix = 0; x->ix < x->n; x->ix++)
		if (take_item(x, e) != ERR_OK)
			return e->kind;
	if (x->rcpt->n_targets > 0)
		return ERR_OK;
	if (x->n_unsupported > 0)
		return err_set(e, ERR_DENIED, 0, "only unsupported targets");
	return err_set(e, ERR_NOENT, 0, "nobody there");
}

/* Most recipients are no aliases: then the lists are short. */
static bool expansion_init(struct expansion *x, struct arena *scratch, struct str name)
{
	struct str base = name;
	size_t n = 1;

	if (x->r->delimiter.n > 0)
		base = str_head(name, str_find(name, x->r->delimiter.p[0]));
	if (aliases_find(x->r->aliases, name) != NULL || aliases_find(x->r->aliases, base) != NULL)
		n = ENVELOPE_ITEMS_MAX;
	x->max = n;
	x->v = arena_array(scratch, n, sizeof *x->v);
	x->done = arena_array(scratch, n, sizeof *x->done);
	x->rcpt->targets = arena_array(scratch, n, sizeof *x->rcpt->targets);
	if (x->v == NULL || x->done == NULL || x->rcpt->targets == NULL)
		return false;
	x->v[0] = (struct item){ .name = name, .parent = -1 };
	x->n = 1;
	return true;
}

/* The list of targets moves from the scratch arena into the envelope's. */
static enum err_kind keep(struct envelope *env, struct rcpt *rc, struct err *e)
{
	uint32_t *kept = arena_array(env->arena, rc->n_targets, sizeof *kept);

	if (kept == NULL)
		return err_set(e, ERR_LIMIT, 0, "the envelope is too large");
	memcpy(kept, rc->targets, rc->n_targets * sizeof *kept);
	rc->targets = kept;
	env->rcpts[env->n_rcpts++] = *rc;
	return ERR_OK;
}

enum err_kind envelope_add(struct envelope *env, struct arena *scratch, const struct resolver *r,
    const struct mail_path *path, struct err *e)
{
	struct rcpt rc = { .n_targets = 0 };
	struct expansion x = { .env = env, .scratch = scratch, .r = r, .rcpt = &rc };
	size_t n_targets = env->n_targets;

	if (path->domain.n > 0 && !r->domain_is_local(r->ctx, path->domain))
		return err_set(e, ERR_DENIED, 0, "not a domain of this site");
	if (env->n_rcpts == env->rcpts_max)
		return err_set(e, ERR_LIMIT, 0, "too many recipients");
	rc.address = str_dup(env->arena, path->text);
	if (rc.address.p == NULL || !expansion_init(&x, scratch, path->local))
		return err_set(e, ERR_LIMIT, 0, "the envelope is too large");
	if (expand(&x, e) == ERR_OK && keep(env, &rc, e) == ERR_OK)
		return ERR_OK;
	env->n_targets = n_targets;
	return e->kind;
}

static bool is_temporary(enum err_kind k)
{
	return k <= ERR_EOF || k == ERR_CORRUPT;
}

enum err_kind envelope_result(const struct envelope *env, size_t ix)
{
	const struct rcpt *rc = &env->rcpts[ix];
	enum err_kind worst = ERR_OK;

	for (size_t i = 0; i < rc->n_targets; i++) {
		enum err_kind k = env->targets[rc->targets[i]].result;

		if (k != ERR_OK && (worst == ERR_OK || (is_temporary(k) && !is_temporary(worst))))
			worst = k;
	}
	return worst;
}
