/* A producer on librdkafka, with its defaults but for what the command line says.
 *
 *   load produce BROKER TOPIC SIZE RECORDS [PROPERTY=VALUE]...   as fast as it goes
 *   load watch   BROKER TOPIC SIZE [PROPERTY=VALUE]...           until standard input ends
 *
 * produce prints "begin" and, when everything is acknowledged, "end", each time waits for a line,
 * and prints one line of JSON. watch prints a line for an acknowledgement, at most one for each
 * millisecond. A record that fails ends produce with exit code 1; watch goes on.
 *
 * The library's header is in no package that its users need, so what is used of its stable
 * interface is declared here.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_conf_s rd_kafka_conf_t;
typedef struct rd_kafka_topic_s rd_kafka_topic_t;
typedef struct rd_kafka_topic_conf_s rd_kafka_topic_conf_t;
/* More follows the first field, which is all that is looked at. */
typedef struct { int err; } rd_kafka_message_t;

extern rd_kafka_conf_t *rd_kafka_conf_new(void);
extern int rd_kafka_conf_set(rd_kafka_conf_t *, const char *, const char *, char *, size_t);
extern void rd_kafka_conf_set_dr_msg_cb(
    rd_kafka_conf_t *, void (*)(rd_kafka_t *, const rd_kafka_message_t *, void *));
extern rd_kafka_t *rd_kafka_new(int, rd_kafka_conf_t *, char *, size_t);
extern rd_kafka_topic_t *rd_kafka_topic_new(
    rd_kafka_t *, const char *, rd_kafka_topic_conf_t *);
extern int rd_kafka_produce(rd_kafka_topic_t *, int32_t, int, void *, size_t, const void *,
                            size_t, void *);
extern int rd_kafka_poll(rd_kafka_t *, int);
extern int rd_kafka_flush(rd_kafka_t *, int);
extern int rd_kafka_outq_len(rd_kafka_t *);
extern const char *rd_kafka_err2str(int);
extern const char *rd_kafka_version_str(void);

enum { PRODUCER = 0, POOL = 4 << 20, DEADLINE = 150, ANY_PARTITION = -1 };

static long acknowledged;
static int failure;
static int watching;

static double now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static double cpu(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void die(const char *what) {
  fprintf(stderr, "librdkafka: %s\n", what);
  exit(1);
}

static void delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque) {
  static double said;
  (void)producer;
  (void)opaque;
  if (message->err) {
    failure = message->err;
    return;
  }
  acknowledged++;
  if (watching && now() - said >= 0.001) {
    said = now();
    puts("acknowledged");
    fflush(stdout);
  }
}

/* Half of every 100 bytes repeats, the rest doesn't: codecs halve it. */
static char *pool(size_t size) {
  static const char text[] = "{\"flight\":\"UA1545\",\"origin\":\"EWR\",\"to\":\"IAH\",\"at\":";
  char *bytes = malloc(POOL + size);
  uint64_t state = 0x9e3779b97f4a7c15u;
  if (!bytes) die("no memory");
  for (size_t at = 0; at < POOL + size; at++) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    bytes[at] = at % 100 < sizeof text - 1 ? text[at % 100] : (char)state;
  }
  return bytes;
}

static void meet(const char *word) {
  char line[16];
  puts(word);
  fflush(stdout);
  if (!fgets(line, sizeof line, stdin)) die("nobody says to go on");
}

/* One more record; 0 if there is no room yet. */
static int send(rd_kafka_topic_t *topic, char *bytes, size_t size) {
  static size_t at;
  char *value = bytes + at;
  /* The bytes stay where they are, so nothing is copied or freed. */
  if (rd_kafka_produce(topic, ANY_PARTITION, 0, value, size, NULL, 0, NULL)) return 0;
  at = (at + size) % POOL;
  return 1;
}

static void produce(rd_kafka_t *producer, rd_kafka_topic_t *topic, size_t size, long records) {
  char *bytes = pool(size);
  /* Connection and metadata don't count, and neither does the first record. */
  if (!send(topic, bytes, size) || rd_kafka_flush(producer, DEADLINE * 1000)) die("no answer");
  if (failure) die(rd_kafka_err2str(failure));
  acknowledged = 0;
  meet("begin");
  double start = now(), used = cpu();
  for (long sent = 0; sent < records && !failure;) {
    if (send(topic, bytes, size)) {
      if (++sent % 64 == 0) rd_kafka_poll(producer, 0);
    } else {
      rd_kafka_poll(producer, 10);
    }
    if (now() - start > DEADLINE) die("not done in time");
  }
  while (rd_kafka_outq_len(producer) && !failure && now() - start < DEADLINE)
    rd_kafka_poll(producer, 10);
  double seconds = now() - start;
  used = cpu() - used;
  if (failure) die(rd_kafka_err2str(failure));
  if (acknowledged != records) die("not everything was acknowledged in time");
  meet("end");
  double total = (double)records * (double)size;
  printf("{\"client\":\"librdkafka %s\",\"bytes\":%.0f,\"records\":%ld,\"seconds\":%.6f,"
         "\"mb_per_second\":%.3f,\"driver_cpu_seconds\":%.2f}\n",
         rd_kafka_version_str(), total, records, seconds, total / 1e6 / seconds, used);
}

static void watch(rd_kafka_t *producer, rd_kafka_topic_t *topic, size_t size) {
  char *bytes = pool(size);
  watching = 1;
  /* Ends with whoever started it, by a signal. */
  for (double start = now(); now() - start < DEADLINE;) {
    for (int count = 0; count < 16; count++) send(topic, bytes, size);
    rd_kafka_poll(producer, 1);
  }
}

int main(int count, char **words) {
  char why[512] = "usage: load produce|watch BROKER TOPIC SIZE ...";
  if (count < 5) die(why);
  int full = !strcmp(words[1], "produce");
  if (full && count < 6) die(why);
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  if (rd_kafka_conf_set(conf, "bootstrap.servers", words[2], why, sizeof why)) die(why);
  for (int index = full ? 6 : 5; index < count; index++) {
    char *value = strchr(words[index], '=');
    if (!value) die(words[index]);
    *value++ = 0;
    if (rd_kafka_conf_set(conf, words[index], value, why, sizeof why)) die(why);
  }
  rd_kafka_conf_set_dr_msg_cb(conf, delivered);
  rd_kafka_t *producer = rd_kafka_new(PRODUCER, conf, why, sizeof why);
  if (!producer) die(why);
  rd_kafka_topic_t *topic = rd_kafka_topic_new(producer, words[3], NULL);
  if (!topic) die("no topic");
  size_t size = strtoul(words[4], NULL, 10);
  if (full)
    produce(producer, topic, size, strtol(words[5], NULL, 10));
  else
    watch(producer, topic, size);
  return 0;
}
