/* SPDX-License-Identifier: ISC */
/* libstore/FORMAT.md against the structs: every field's offset and size, every record type, and nothing more. */
#include <stddef.h>
#include <string.h>

#include "../../libstore/copy_types.h"
#include "../../libstore/search_int.h"
#include "tap.h"

#define ROW(type, member) \
	{ #type, #member, offsetof(struct type, member), sizeof(((struct type *)0)->member) }

static const struct row {
	const char *type, *member;
	size_t off, octets;
} rows[] = {
	ROW(search_header, magic),
	ROW(search_header, version),
	ROW(search_header, seg),
	ROW(search_header, store_id),
	ROW(search_header, salt),
	ROW(search_header, end_crc),
	ROW(search_header, rules),
	ROW(search_header, n_keys),
	ROW(search_header, n_docs),
	ROW(search_header, payload_octets),
	ROW(search_header, blocks_crc),
	ROW(search_header, reserved),
	ROW(search_header, crc),
	ROW(seg_header, magic),
	ROW(seg_header, version),
	ROW(seg_header, number),
	ROW(seg_header, store_id),
	ROW(seg_header, salt),
	ROW(seg_header, first_seq),
	ROW(seg_header, created_ms),
	ROW(seg_header, prev_crc),
	ROW(seg_header, reserved),
	ROW(seg_header, reserved2),
	ROW(seg_header, crc),
	ROW(rec_header, octets),
	ROW(rec_header, type),
	ROW(rec_header, flags),
	ROW(rec_header, undurable),
	ROW(rec_header, seq),
	ROW(rec_header, time_ms),
	ROW(rec_header, prev_crc),
	ROW(rec_header, crc),
	ROW(uid_range, lo),
	ROW(uid_range, hi),
	ROW(rec_snapshot, n_mailboxes),
	ROW(rec_snapshot, next_mailbox_id),
	ROW(rec_snapshot, last_uidvalidity),
	ROW(rec_snapshot, n_quotas),
	ROW(snapshot_mailbox, id),
	ROW(snapshot_mailbox, state),
	ROW(snapshot_mailbox, uidvalidity),
	ROW(snapshot_mailbox, uidnext),
	ROW(snapshot_mailbox, n_messages),
	ROW(snapshot_mailbox, n_unseen),
	ROW(snapshot_mailbox, recent_uid),
	ROW(snapshot_mailbox, n_keywords),
	ROW(snapshot_mailbox, modseq),
	ROW(snapshot_mailbox, octets),
	ROW(snapshot_mailbox, name_octets),
	ROW(snapshot_mailbox, reserved),
	ROW(rec_mailbox, id),
	ROW(rec_mailbox, state),
	ROW(rec_mailbox, uidvalidity),
	ROW(rec_mailbox, name_octets),
	ROW(rec_message, mailbox),
	ROW(rec_message, uid),
	ROW(rec_message, flags),
	ROW(rec_message, size_octets),
	ROW(rec_message, keywords),
	ROW(rec_message, modseq),
	ROW(rec_message, internaldate_s),
	ROW(rec_message, guid),
	ROW(rec_message, large_id),
	ROW(rec_message, record_octets),
	ROW(rec_message, record_crc),
	ROW(rec_message, prefix_octets),
	ROW(rec_message, body_octets),
	ROW(rec_message, body_crc),
	ROW(rec_message, moved),
	ROW(rec_message, encoding),
	ROW(rec_copy, mailbox),
	ROW(rec_copy, from_mailbox),
	ROW(rec_copy, first_uid),
	ROW(rec_copy, n),
	ROW(rec_copy, n_unseen),
	ROW(rec_copy, undelete),
	ROW(rec_copy, octets),
	ROW(copy_entry, from_uid),
	ROW(copy_entry, flags),
	ROW(copy_entry, keywords),
	ROW(copy_entry, internaldate_s),
	ROW(copy_entry, size_octets),
	ROW(copy_entry, record_octets),
	ROW(copy_entry, seg),
	ROW(copy_entry, off),
	ROW(rec_flags, mailbox),
	ROW(rec_flags, n_ranges),
	ROW(rec_flags, set),
	ROW(rec_flags, clear),
	ROW(rec_flags, set_keywords),
	ROW(rec_flags, clear_keywords),
	ROW(rec_flags, unseen_delta),
	ROW(rec_flags, reserved),
	ROW(rec_expunge, mailbox),
	ROW(rec_expunge, n_ranges),
	ROW(rec_expunge, n_messages),
	ROW(rec_expunge, n_unseen),
	ROW(rec_expunge, octets),
	ROW(rec_keyword, mailbox),
	ROW(rec_keyword, bit),
	ROW(rec_keyword, name_octets),
	ROW(rec_keyword, reserved),
	ROW(rec_view, mailbox),
	ROW(rec_view, how),
	ROW(rec_view, name_octets),
	ROW(rec_view, n_ranges),
	ROW(rec_place, n),
	ROW(rec_place, reserved),
	ROW(place_entry, mailbox),
	ROW(place_entry, uid),
	ROW(place_entry, flags),
	ROW(place_entry, reserved),
	ROW(place_entry, keywords),
	ROW(place_entry, modseq),
	ROW(place_entry, internaldate_s),
	ROW(place_entry, size_octets),
	ROW(place_entry, record_octets),
	ROW(place_entry, seg),
	ROW(place_entry, off),
	ROW(rec_gone, mailbox),
	ROW(rec_gone, n),
	ROW(rec_gone, name_octets),
	ROW(rec_gone, uidvalidity),
	ROW(rec_gone, deleted_ms),
	ROW(gone_entry, uid),
	ROW(gone_entry, flags),
	ROW(gone_entry, keywords),
	ROW(gone_entry, modseq),
	ROW(gone_entry, internaldate_s),
	ROW(gone_entry, gone_ms),
	ROW(gone_entry, size_octets),
	ROW(gone_entry, record_octets),
	ROW(gone_entry, seg),
	ROW(gone_entry, off),
	ROW(rec_lost, first_seq),
	ROW(rec_lost, octets),
	ROW(rec_lost, settled),
	ROW(rec_lost, reserved),
	ROW(rec_attr, mailbox),
	ROW(rec_attr, kind),
	ROW(rec_attr, owner_octets),
	ROW(rec_attr, name_octets),
	ROW(rec_attr, value_octets),
	ROW(rec_attr, set),
	ROW(rec_attr, modseq),
	ROW(rec_quota, mailbox),
	ROW(rec_quota, set),
	ROW(rec_quota, storage_octets),
	ROW(rec_quota, n_messages),
	ROW(manifest_head, magic),
	ROW(manifest_head, version),
	ROW(manifest_head, n_segments),
	ROW(manifest_head, store_id),
	ROW(manifest_head, made_ms),
	ROW(manifest_head, covered_ms),
	ROW(manifest_head, end_seq),
	ROW(manifest_head, end_ms),
	ROW(manifest_head, end_seg),
	ROW(manifest_head, end_off),
	ROW(manifest_head, last_off),
	ROW(manifest_head, end_crc),
	ROW(manifest_head, following),
	ROW(manifest_head, user_octets),
	ROW(manifest_head, reserved),
	ROW(manifest_head, crc),
	ROW(manifest_segment, number),
	ROW(manifest_segment, octets),
	ROW(manifest_segment, salt),
	ROW(frame_header, octets),
	ROW(frame_header, type),
	ROW(frame_header, reserved),
	ROW(frame_header, crc),
	ROW(frame_header, reserved2),
	ROW(frame_hello, version),
	ROW(frame_hello, reserved),
	ROW(frame_pos, store_id),
	ROW(frame_pos, salt),
	ROW(frame_pos, seq),
	ROW(frame_pos, ms),
	ROW(frame_pos, seg),
	ROW(frame_pos, off),
	ROW(frame_pos, crc),
	ROW(frame_pos, last_off),
	ROW(frame_begin, store_id),
	ROW(frame_begin, covered_ms),
	ROW(frame_begin, anew),
	ROW(frame_begin, reserved),
	ROW(frame_data, seg),
	ROW(frame_data, off),
	ROW(frame_large, id),
	ROW(frame_large, octets),
	ROW(frame_want, wanted),
	ROW(frame_want, reserved),
	ROW(frame_mark, at),
	ROW(frame_mark, publish),
	ROW(frame_mark, reserved),
	ROW(frame_done, seq),
};

static const struct { unsigned n; const char *name; } types[] = {
	{ REC_END, "END" }, { REC_SNAPSHOT, "SNAPSHOT" }, { REC_MAILBOX, "MAILBOX" },
	{ REC_MESSAGE, "MESSAGE" }, { REC_COPY, "COPY" }, { REC_FLAGS, "FLAGS" },
	{ REC_EXPUNGE, "EXPUNGE" }, { REC_KEYWORD, "KEYWORD" }, { REC_VIEW, "VIEW" },
	{ REC_PLACE, "PLACE" }, { REC_KEPT, "KEPT" }, { REC_GONE, "GONE" },
	{ REC_ATTR, "ATTR" }, { REC_QUOTA, "QUOTA" }, { REC_LOST, "LOST" },
};

static bool known_field(const char *type, const char *member, size_t off, size_t octets)
{
	for (size_t i = 0; i < COUNTOF(rows); i++) {
		if (strcmp(rows[i].type, type) == 0 && strcmp(rows[i].member, member) == 0)
			return rows[i].off == off && rows[i].octets == octets;
	}
	return false;
}

static bool known_type(unsigned n, const char *name)
{
	for (size_t i = 0; i < COUNTOF(types); i++) {
		if (types[i].n == n)
			return strcmp(types[i].name, name) == 0;
	}
	return false;
}

int main(void)
{
	const char *dir = getenv("PENNY_SRC");
	char path[512], line[1024], type[64], member[64];
	size_t n_fields = 0, n_types = 0;
	unsigned long off, octets;
	FILE *f;

	snprintf(path, sizeof path, "%s/libstore/FORMAT.md", dir != NULL ? dir : ".");
	f = fopen(path, "r");
	REQUIRE(f != NULL);
	while (fgets(line, sizeof line, f) != NULL) {
		if (sscanf(line, "| %63[a-z_] | %63[a-z0-9_] | %lu | %lu |", type, member, &off, &octets) == 4) {
			n_fields++;
			CHECK_AT(known_field(type, member, off, octets), n_fields);
		} else if (sscanf(line, "| %lu | %63[A-Z] |", &off, type) == 2) {
			n_types++;
			CHECK_AT(known_type((unsigned)off, type), off);
		}
	}
	fclose(f);
	CHECK(n_fields == COUNTOF(rows));
	CHECK(n_types == COUNTOF(types) && n_types == REC_TYPE_MAX);
	return tap_done();
}
