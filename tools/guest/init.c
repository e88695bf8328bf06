/*
 * The first program in the initramfs that boots Debian's own kernel on an image: loads the modules it is told
 * to, waits for the root disk, mounts it and becomes the image's own init, as root=, rootfstype=, rootflags=,
 * ro, rw and init= on the kernel command line say. Its own arguments are init's arguments.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static char root[256], root_type[32] = "ext4", root_flags[256], init_path[256];
static unsigned long root_mode = MS_RDONLY;

static void fail(const char *what, const char *name)
{
	fprintf(stderr, "Kernel panic - not syncing: initramfs: %s %s: %s\n", what, name, strerror(errno));
	sync();
	sleep(1);
	reboot(RB_AUTOBOOT);
	_exit(1);
}

static void load_modules(void)
{
	char line[256];
	FILE *list = fopen("/modules/list", "re");

	if (list == NULL)
		return;
	while (fgets(line, sizeof line, list)) {
		line[strcspn(line, "\n")] = 0;
		int file = open(line, O_RDONLY | O_CLOEXEC);

		if (file < 0 || (syscall(SYS_finit_module, file, "", 0) != 0 && errno != EEXIST))
			fprintf(stderr, "initramfs: cannot load %s: %s\n", line, strerror(errno));
		if (file >= 0)
			close(file);
	}
	fclose(list);
}

static void take(const char *word, const char *key, char *into, size_t size)
{
	size_t length = strlen(key);

	if (strncmp(word, key, length) == 0)
		snprintf(into, size, "%s", word + length);
}

static void read_command_line(void)
{
	static char line[4096];
	int file = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t got = file < 0 ? -1 : read(file, line, sizeof line - 1);

	if (got < 0)
		fail("cannot read", "/proc/cmdline");
	close(file);
	for (char *word = strtok(line, " \n"); word && strcmp(word, "--") != 0; word = strtok(NULL, " \n")) {
		take(word, "root=", root, sizeof root);
		take(word, "rootfstype=", root_type, sizeof root_type);
		take(word, "rootflags=", root_flags, sizeof root_flags);
		take(word, "init=", init_path, sizeof init_path);
		if (strcmp(word, "rw") == 0)
			root_mode = 0;
		if (strcmp(word, "ro") == 0)
			root_mode = MS_RDONLY;
	}
}

static void uuid_text(const unsigned char *raw, char text[37])
{
	snprintf(text, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", raw[0], raw[1],
		 raw[2], raw[3], raw[4], raw[5], raw[6], raw[7], raw[8], raw[9], raw[10], raw[11], raw[12], raw[13],
		 raw[14], raw[15]);
}

/* GPT stores the first three groups of a GUID little-endian. */
static void guid_text(const unsigned char *raw, char text[37])
{
	unsigned char ordered[16] = { raw[3], raw[2], raw[1], raw[0], raw[5], raw[4], raw[7], raw[6] };

	memcpy(ordered + 8, raw + 8, 8);
	uuid_text(ordered, text);
}

/* Whether the block device at path holds an ext file system with root='s UUID or label. */
static int has_file_system(const char *path)
{
	unsigned char super[1024];
	char uuid[37], label[17];
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = file < 0 ? -1 : pread(file, super, sizeof super, 1024);

	if (file >= 0)
		close(file);
	if (got != (ssize_t)sizeof super || super[56] != 0x53 || super[57] != 0xef)
		return 0;
	uuid_text(super + 0x68, uuid);
	memcpy(label, super + 0x78, 16);
	label[16] = 0;
	return (strncmp(root, "UUID=", 5) == 0 && strcasecmp(root + 5, uuid) == 0) ||
	       (strncmp(root, "LABEL=", 6) == 0 && strcmp(root + 6, label) == 0);
}

/* The number of the partition with root='s PARTUUID on the disk at path; 0 if there is none. */
static unsigned find_partition(const char *path)
{
	unsigned char header[512], entry[128];
	char guid[37];
	unsigned found = 0;
	int file = open(path, O_RDONLY | O_CLOEXEC);

	if (file < 0)
		return 0;
	if (pread(file, header, 512, 512) == 512 && memcmp(header, "EFI PART", 8) == 0) {
		uint64_t start;
		uint32_t count, size;

		memcpy(&start, header + 72, 8);
		memcpy(&count, header + 80, 4);
		memcpy(&size, header + 84, 4);
		for (uint32_t i = 0; i < count && i < 128 && !found; i++) {
			if (pread(file, entry, 128, (off_t)(start * 512 + (uint64_t)i * size)) != 128)
				break;
			guid_text(entry + 16, guid);
			if (strcasecmp(root + 9, guid) == 0)
				found = i + 1;
		}
	}
	close(file);
	return found;
}

/* Turns root=UUID=, LABEL= or PARTUUID= into a device path, if that device is there. */
static int find_root(char *path, size_t size)
{
	struct dirent *entry;
	DIR *blocks;
	int found = 0;

	if (root[0] == '/') {
		snprintf(path, size, "%s", root);
		return access(path, F_OK) == 0;
	}
	blocks = opendir("/sys/class/block");
	while (blocks && !found && (entry = readdir(blocks))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, size, "/dev/%.200s", entry->d_name);
		if (strncmp(root, "PARTUUID=", 9) == 0) {
			unsigned number = find_partition(path);

			if (number)
				snprintf(path, size, "/dev/%.200s%u", entry->d_name, number);
			found = number != 0;
		} else {
			found = has_file_system(path);
		}
	}
	if (blocks)
		closedir(blocks);
	return found;
}

static void mount_root(void)
{
	const struct timespec pause = { 0, 5000000 };
	char path[256] = "";
	int tries = 0;

	while (!find_root(path, sizeof path)) {
		errno = ENODEV;
		if (++tries > 2000)
			fail("no root device", root);
		nanosleep(&pause, NULL);
	}
	mkdir("/root", 0755);
	if (mount(path, "/root", root_type, root_mode, root_flags) != 0)
		fail("cannot mount", path);
}

int main(int argc, char **argv)
{
	static const char *const usual[] = { "/sbin/init", "/etc/init", "/bin/init", "/bin/sh" };

	(void)argc;
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	read_command_line();
	load_modules();
	mount_root();
	umount("/proc");
	umount("/sys");
	mount("/dev", "/root/dev", NULL, MS_MOVE, NULL);
	if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
		fail("cannot change to", root);
	if (init_path[0]) {
		argv[0] = init_path;
		execv(init_path, argv);
		fail("cannot run init", init_path);
	}
	for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++) {
		argv[0] = (char *)usual[i];
		execv(usual[i], argv);
	}
	fail("no working init on", root);
}
