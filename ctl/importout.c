/* SPDX-License-Identifier: ISC */
/* The pipe's reading half: frames of what a format reads. Line ends become CR LF here and nowhere
 * else; a write error stays in the stream, where the formats look at it. */
#include "import.h"

static void put_u32(FILE *to, uint32_t v)
{
	fwrite(&v, sizeof v, 1, to);
}

static void put_str(FILE *to, struct str s)
{
	put_u32(to, (uint32_t)s.n);
	if (s.n > 0)
		fwrite(s.p, 1, s.n, to);
}

void import_folder(struct import_out *o, struct str name)
{
	fputc(FRAME_FOLDER, o->to);
	put_str(o->to, str_head(name, IMPORT_NAME_MAX_OCTETS));
}

void import_begin(struct import_out *o)
{
	fputc(FRAME_BEGIN, o->to);
	o->line_has_cr = false;
}

static void put_data(struct import_out *o, struct str s)
{
	if (s.n == 0)
		return;
	fputc(FRAME_DATA, o->to);
	put_str(o->to, s);
}

void import_text(struct import_out *o, struct str octets)
{
	while (octets.n > 0) {
		struct str part = str_head(octets, IMPORT_CHUNK_OCTETS);
		size_t lf = str_find(part, '\n');
		bool bare = lf < part.n && !(lf > 0 ? part.p[lf - 1] == '\r' : o->line_has_cr);

		part = str_head(part, lf < part.n && !bare ? lf + 1 : lf);
		put_data(o, part);
		if (bare)
			put_data(o, STR("\r\n"));
		o->line_has_cr = part.n > 0 && part.p[part.n - 1] == '\r';
		octets = str_skip(octets, part.n + (bare ? 1 : 0));
	}
}

void import_octets(struct import_out *o, struct str octets)
{
	for (; octets.n > 0; octets = str_skip(octets, IMPORT_CHUNK_OCTETS))
		put_data(o, str_head(octets, IMPORT_CHUNK_OCTETS));
}

void import_end(struct import_out *o, const struct import_meta *m)
{
	fputc(FRAME_END, o->to);
	put_u32(o->to, m->flags);
	fwrite(&m->date_s, sizeof m->date_s, 1, o->to);
	put_str(o->to, str_head(m->keywords, IMPORT_KEYWORDS_MAX_OCTETS));
}

void import_drop(struct import_out *o)
{
	fputc(FRAME_DROP, o->to);
}

void import_skipped(struct import_out *o, const char *what, const char *why)
{
	fprintf(stderr, "penny: %s: %s: skipped\n", what, why);
	o->n_skipped++;
}
