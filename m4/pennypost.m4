# SPDX-License-Identifier: ISC

# PENNY_TRY_CFLAGS(VARIABLE, FLAGS): appends FLAGS to VARIABLE when a program compiles and links with
# them and no warning. -Werror makes clang refuse flags that it would only complain about.
AC_DEFUN([PENNY_TRY_CFLAGS],
[AC_MSG_CHECKING([whether $CC takes $2])
penny_save_CFLAGS=$CFLAGS
CFLAGS="$CFLAGS -Werror $2"
AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <stddef.h>]], [[]])],
	[$1="$$1 $2"; AC_MSG_RESULT([yes])],
	[AC_MSG_RESULT([no])])
CFLAGS=$penny_save_CFLAGS])

# PENNY_TRY_LDFLAGS(VARIABLE, FLAGS): the same for the linker's.
AC_DEFUN([PENNY_TRY_LDFLAGS],
[AC_MSG_CHECKING([whether the linker takes $2])
penny_save_LDFLAGS=$LDFLAGS
LDFLAGS="$LDFLAGS $2"
AC_LINK_IFELSE([AC_LANG_PROGRAM([[]], [[]])],
	[$1="$$1 $2"; AC_MSG_RESULT([yes])],
	[AC_MSG_RESULT([no])])
LDFLAGS=$penny_save_LDFLAGS])

# PENNY_CHECK_BDB(PREFIX): finds Berkeley DB 5 or newer: header and library must fit. Sets ENGINE_CPPFLAGS and
# ENGINE_LIBS. Distributions put the header in <prefix>/include, include/db5.3 or include/libdb, and call the
# library db, db-5.3 or db-5. db_env_create is a macro nowhere, so the link test means what it says.
AC_DEFUN([PENNY_CHECK_BDB],
[ENGINE_CPPFLAGS= ENGINE_LIBS=
penny_bdb_found=no
penny_save_CPPFLAGS=$CPPFLAGS
penny_save_LIBS=$LIBS
AC_MSG_CHECKING([for Berkeley DB 5])
for penny_inc in "" db5.3 db5 libdb db; do
	for penny_lib in db db-5.3 db-5; do
		test $penny_bdb_found = no || continue
		penny_i= penny_l="-l$penny_lib"
		if test -n "$1"; then
			penny_i="-I$1/include${penny_inc:+/}$penny_inc"
			penny_l="-L$1/lib -l$penny_lib"
		elif test -n "$penny_inc"; then
			penny_i="-I/usr/include/$penny_inc"
		fi
		CPPFLAGS="$penny_save_CPPFLAGS $penny_i"
		LIBS="$penny_l $penny_save_LIBS"
		AC_LINK_IFELSE([AC_LANG_PROGRAM([[
#include <stddef.h>
#include <sys/types.h>
#include <db.h>
#if DB_VERSION_MAJOR < 5
#error too old
#endif
]], [[DB_ENV *env; return db_env_create(&env, 0);]])],
			[penny_bdb_found=yes ENGINE_CPPFLAGS=$penny_i ENGINE_LIBS=$penny_l])
	done
done
CPPFLAGS=$penny_save_CPPFLAGS
LIBS=$penny_save_LIBS
AC_MSG_RESULT([$penny_bdb_found${ENGINE_LIBS:+ ($ENGINE_CPPFLAGS $ENGINE_LIBS)}])
test $penny_bdb_found = yes || AC_MSG_ERROR([Berkeley DB 5 with its header db.h is needed (Debian: libdb-dev; else --with-engine=lmdb)])])

# PENNY_CHECK_LMDB: finds LMDB 0.9: another file format than that of 0.9 can't be checked by libstore/lmdb_check.c.
# Sets ENGINE_LIBS.
AC_DEFUN([PENNY_CHECK_LMDB],
[ENGINE_CPPFLAGS= ENGINE_LIBS=-llmdb
penny_save_LIBS=$LIBS
LIBS="$ENGINE_LIBS $LIBS"
AC_MSG_CHECKING([for LMDB 0.9])
AC_LINK_IFELSE([AC_LANG_PROGRAM([[
#include <lmdb.h>
#if MDB_VERSION_MAJOR != 0 || MDB_VERSION_MINOR != 9
#error another one
#endif
]], [[MDB_env *env; return mdb_env_create(&env);]])],
	[AC_MSG_RESULT([yes])],
	[AC_MSG_ERROR([LMDB 0.9 with its header lmdb.h is needed (Debian: liblmdb-dev, Red Hat: lmdb-devel)])])
LIBS=$penny_save_LIBS])
