/*
 * The first process of an enclave that really boots: mounts, modules, the heartbeat to the parent, then
 * attestation on vsock 1300 and an echo on 8080. With context id 88 it is what a standard image is, as far
 * as its host can tell: it asks the init server, extends PCR16, and has its packets carried.
 */
#define _GNU_SOURCE
#include "guest.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ATTESTATION_PORT 1300
#define ECHO_PORT 8080
#define STANDARD_CID 88
#define INIT_PORT 1300
/* AWS's init says this byte to 3:9000 and nitro-cli answers with it: the enclave is up. */
#define HEARTBEAT_PORT 9000
#define HEARTBEAT 0xb7

void say(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	printf("enclave: ");
	vprintf(format, list);
	printf("\n");
	fflush(stdout);
	va_end(list);
}

/* An enclave whose init ends is over (the kernel has panic=, reboot=k on its command line). */
static void die(const char *why)
{
	say("%s", why);
	sync();
	reboot(RB_AUTOBOOT);
	exit(1);
}

static void mount_all(void)
{
	mkdir("/dev", 0755), mkdir("/proc", 0755), mkdir("/sys", 0755);
	if (mount("dev", "/dev", "devtmpfs", 0, "") || mount("proc", "/proc", "proc", 0, ""))
		_exit(1);
	mount("sys", "/sys", "sysfs", 0, "");
	for (int fd = 0; fd < 3; fd++) {
		int console = open("/dev/console", O_RDWR);
		if (console >= 0 && console != fd) {
			dup2(console, fd);
			close(console);
		}
	}
}

/* /modules/order: one name a line, what each needs before it. */
static void load_modules(void)
{
	char line[128], path[160];
	FILE *order = fopen("/modules/order", "r");

	if (!order)
		die("no /modules/order in this image");
	while (fgets(line, sizeof line, order)) {
		line[strcspn(line, "\n")] = 0;
		snprintf(path, sizeof path, "/modules/%s", line);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
			die(path);
		close(fd);
	}
	fclose(order);
}

static unsigned setting(const char *line, const char *name, unsigned otherwise)
{
	const char *at = strstr(line, name);

	return at ? (unsigned)strtoul(at + strlen(name), NULL, 10) : otherwise;
}

/* Who emulates vsock may know the host by another number than 3, and signs for the module where it must.
 * Neither is in the image's own command line, which is measured. */
static void read_settings(void)
{
	char line[4096] = "";
	FILE *file = fopen("/proc/cmdline", "r");

	if (!file)
		return;
	if (fgets(line, sizeof line, file)) {
		parent_cid = setting(line, "oyster.parent=", parent_cid);
		signer_port = setting(line, "oyster.signer=", 0);
	}
	fclose(file);
}

static void beat(void)
{
	uint8_t byte = HEARTBEAT;
	int fd = vsock_connect(parent_cid, HEARTBEAT_PORT);

	if (fd < 0 || send_all(fd, &byte, 1) || read(fd, &byte, 1) != 1 || byte != HEARTBEAT)
		die("the parent does not answer the heartbeat");
	close(fd);
}

static int base64(const char *text, uint8_t *out, size_t most)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	unsigned bits = 0, have = 0;
	size_t length = 0;

	for (; *text && *text != '=' && *text != '"'; text++) {
		const char *found = strchr(digits, *text);
		if (!found || length == most)
			return -1;
		bits = bits << 6 | (unsigned)(found - digits);
		have += 6;
		if (have >= 8) {
			have -= 8;
			out[length++] = (uint8_t)(bits >> have);
		}
	}
	return (int)length;
}

/* The digest that the params name goes into PCR16. A real image sums them up first; here the register is
 * what matters, and the host's word for it is compared outside. */
static void take_params(char *params)
{
	uint8_t digest[64];
	char *at = strstr(params, "\"digest\"");

	at = at ? strchr(at, ':') : NULL;
	at = at ? strchr(at, '"') : NULL;
	int length = at ? base64(at + 1, digest, sizeof digest) : -1;
	if (length != 32 || nsm_extend_and_lock(16, digest, 32))
		die("the init params are none, or PCR16 would not be extended");
}

/* As a standard image starts: the first answer that is not 200 ends it. */
static void be_standard(void)
{
	static char ip[64], params[1 << 16], job[256];

	if (http_get(INIT_PORT, "/instance/ip", (uint8_t *)ip, sizeof ip - 1) < 0 ||
	    http_get(INIT_PORT, "/oyster/init-params", (uint8_t *)params, sizeof params - 1) < 0 ||
	    http_get(INIT_PORT, "/oyster/job", (uint8_t *)job, sizeof job - 1) < 0)
		die("the init server does not serve as it must");
	if (*params)
		take_params(params);
	packets_start(ip);
	start(serve_attestation, tcp_listen(ATTESTATION_PORT));
	start(serve_echo, tcp_listen(80));
	start(serve_echo, tcp_listen(443));
}

int main(void)
{
	mount_all();
	signal(SIGCHLD, SIG_IGN); /* children reap themselves */
	signal(SIGPIPE, SIG_IGN);
	load_modules();
	read_settings();
	if (own_cid() == STANDARD_CID)
		be_standard();
	start(serve_attestation, vsock_listen(ATTESTATION_PORT));
	start(serve_echo, vsock_listen(ECHO_PORT));
	beat();
	say("up, context id %u", own_cid());
	for (;;)
		pause();
}
