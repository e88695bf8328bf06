/* Programs that people run, timed whole. */
#include "bench.h"

static const char *command;

static int64_t shell_command(long n)
{
	char *argv[] = { "sh", "-c", (char *)command, NULL };
	int64_t start = now();

	for (long i = 0; i < n; i++) {
		int status = run_program(argv);

		if (status != 0)
			fail("status %d from: %s", status, command);
	}
	return now() - start;
}

static void application(const char *name, const char *program, const char *what)
{
	char test[128];
	char *argv[] = { "sh", "-c", test, NULL };

	if (!wanted(name))
		return;
	snprintf(test, sizeof test, "command -v %s", program);
	if (run_program(argv) != 0) {
		skip(name, "the image does not have it");
		return;
	}
	command = what;
	/* Once for the page cache. */
	shell_command(1);
	measure_once(name, shell_command, 5);
}

static void write_source(void)
{
	FILE *out = fopen("source.c", "w");

	need(out != NULL, "source.c");
	fputs("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n", out);
	for (int i = 0; i < 60; i++)
		fprintf(out,
			"static int work%d(const char *text, int many)\n{\n\tint sum = %d;\n\tfor (int i = 0; i < many; i++)\n"
			"\t\tsum = sum * 31 + text[i %% 7] + (i & %d ? i : -i);\n\treturn sum;\n}\n",
			i, i, i + 1);
	fputs("int main(int argc, char **argv)\n{\n\tint sum = argc;\n", out);
	for (int i = 0; i < 60; i++)
		fprintf(out, "\tsum += work%d(argv[0], %d);\n", i, 1000 + i);
	fputs("\tprintf(\"%d\\n\", sum);\n\treturn 0;\n}\n", out);
	fclose(out);
}

static void write_text(void)
{
	FILE *out = fopen("text", "w");
	unsigned state = 1;

	need(out != NULL, "text");
	for (int i = 0; i < 60000; i++) {
		state = state * 1664525 + 1013904223;
		fprintf(out, "line %d %x %s\n", i, state, state & 4096 ? "some words that come again" : "others");
	}
	fclose(out);
}

void group_app(void)
{
	need(chdir(work_dir) == 0, work_dir);
	write_source();
	write_text();
	application("python-start", "python3", "python3 -S -c pass");
	application("python-imports", "python3", "python3 -c 'import json, subprocess, email, http.client'");
	application("perl-start", "perl", "perl -e 1");
	application("bash-loop-100-forks", "bash", "bash -c 'for i in $(seq 100); do /bin/true; done'");
	application("gcc-compile", "gcc", "gcc -O1 -c source.c -o source.o");
	application("gcc-link", "gcc", "gcc source.o -o program");
	application("gzip-text", "gzip", "gzip -k -f -1 text");
	application("grep-text", "grep", "grep -c 'come again' text");
	application("sort-text", "sort", "sort text -o sorted");
	application("tar-create", "tar", "tar cf archive.tar /usr/share/perl5 /etc");
	application("find-usr", "find", "find /usr -name '*.so'");
	application("sqlite-1000-inserts", "sqlite3",
		    "rm -f db; (echo 'create table t(a integer primary key, b text);'; echo 'begin;'; "
		    "seq 1000 | sed 's/.*/insert into t(b) values(\"&\");/'; echo 'commit; select count(*) from t;') | sqlite3 db");
	application("sqlite-20-commits", "sqlite3",
		    "rm -f db; (echo 'create table t(a integer primary key, b text);'; "
		    "seq 20 | sed 's/.*/insert into t(b) values(\"&\");/') | sqlite3 db");
	application("git-init-commit", "git",
		    "rm -rf repo; git init -q repo; cd repo; cp ../source.c .; git add .; "
		    "git -c user.name=k -c user.email=k@k commit -q -m one");
}
