/* The C interface of the native core: the only header that other languages see. Plain C99.
 *
 * Configuration and requests cross as JSON (the shapes are the structs of Go package sessions/engine), results as JSON in
 * a stepd_buffer. Tensors never cross. Inputs are pointer and length, borrowed for the call. Every fallible function returns
 * a status and fills the caller's stepd_error. Nothing here aborts, exits or prints.
 *
 * Threads: functions without a session may be called from any thread. A session is used by one thread at a time, except
 * stepd_session_cancel, stepd_session_resume and stepd_session_step, which may be called at any moment before
 * stepd_session_destroy starts.
 */
#ifndef STEPD_H
#define STEPD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define STEPD_API __attribute__((visibility("default")))
#else
#define STEPD_API
#endif

/* Raised by every change of this header that an old caller would not survive. */
#define STEPD_ABI_VERSION 2

typedef enum stepd_status {
    STEPD_OK = 0,
    STEPD_INVALID = 1,
    STEPD_NOT_FOUND = 2,
    STEPD_UNSUPPORTED = 3,
    STEPD_OUT_OF_MEMORY = 4,
    STEPD_DEVICE_OOM = 5,
    STEPD_DEVICE_LOST = 6, /* the session is poisoned: only stepd_session_step and stepd_session_destroy are legal */
    STEPD_IO = 7,
    STEPD_CANCELLED = 8,
    STEPD_STATE = 9,
    STEPD_NUMERIC = 10,  /* loss or gradients (train), or what is to be saved, is not finite: nothing was applied or
                            written, the session stays usable */
    STEPD_INTERNAL = 11  /* the session is poisoned */
} stepd_status;

typedef struct stepd_error {
    size_t struct_size; /* set by the caller to sizeof(stepd_error) */
    int32_t code;       /* stepd_status */
    char place[128];    /* source file and line, NUL-terminated */
    char message[1024]; /* UTF-8, NUL-terminated */
} stepd_error;

/* Memory owned by the library; free with stepd_buffer_free, never with free(). */
typedef struct stepd_buffer {
    char* data;
    size_t size;
} stepd_buffer;

typedef struct stepd_session stepd_session;

/* Asks calls that make or plan a session to stop at their next safe point. Set from any thread; freed by its owner when no
 * call uses it any more. */
typedef struct stepd_cancellation stepd_cancellation;

typedef enum stepd_event_kind {
    STEPD_EVENT_STEP = 1,     /* JSON: engine.StepEvent */
    STEPD_EVENT_PROGRESS = 2, /* JSON: engine.ProgressEvent */
    STEPD_EVENT_PREVIEW = 3   /* JSON: engine.PreviewEvent */
} stepd_event_kind;

/* Called from any native thread, never under a lock of the library and never after stepd_session_destroy has returned.
 * json is valid during the call only. The callee must not call back into the library. */
typedef struct stepd_callbacks {
    size_t struct_size; /* sizeof(stepd_callbacks) */
    void* user_data;
    void (*on_event)(void* user_data, int32_t kind, const char* json, size_t json_size);
} stepd_callbacks;

/* library */
STEPD_API int32_t stepd_abi_version(void);
STEPD_API stepd_status stepd_info(stepd_buffer* out, stepd_error* error); /* engine.Info */
STEPD_API void stepd_buffer_free(stepd_buffer* buffer);                   /* safe on a zeroed buffer */
STEPD_API int64_t stepd_debug_live(void); /* live sessions, cancellations and buffers, for leak tests */
STEPD_API stepd_cancellation* stepd_cancellation_new(void); /* NULL: out of memory */
STEPD_API void stepd_cancellation_set(stepd_cancellation* c);  /* idempotent; NULL is legal */
STEPD_API void stepd_cancellation_free(stepd_cancellation* c); /* NULL is legal */

/* without a session */
STEPD_API stepd_status stepd_probe(const char* path, size_t path_size, stepd_buffer* out, stepd_error* error);
/* request: {"config": engine.Config, "shapes": [engine.Shape]} -> engine.Plan; cancellation may be NULL */
STEPD_API stepd_status stepd_plan(const char* json, size_t json_size, const stepd_cancellation* cancellation,
                                  stepd_buffer* out, stepd_error* error);
STEPD_API stepd_status stepd_init_model(const char* json, size_t json_size, stepd_error* error); /* engine.InitModel */
/* request: {"cases": ["pixart-demo", ...], "steps": n, "warmup": n, "profile": bool} -> JSON array, one object per case */
STEPD_API stepd_status stepd_bench(const char* json, size_t json_size, stepd_buffer* out, stepd_error* error);

/* sessions */
/* callbacks and cancellation may be NULL */
STEPD_API stepd_status stepd_session_create(const char* config, size_t config_size, const stepd_callbacks* callbacks,
                                            const stepd_cancellation* cancellation, stepd_session** out,
                                            stepd_error* error);
STEPD_API stepd_status stepd_session_encode_images(stepd_session* s, const char* json, size_t json_size, stepd_error* error);
STEPD_API stepd_status stepd_session_encode_text(stepd_session* s, const char* json, size_t json_size, stepd_error* error);
/* request: {"samples": [engine.Sample], "empty": engine.TextFile} */
STEPD_API stepd_status stepd_session_set_samples(stepd_session* s, const char* json, size_t json_size, stepd_error* error);
STEPD_API stepd_status stepd_session_train(stepd_session* s, const char* steps, size_t steps_size, stepd_buffer* result,
                                           stepd_error* error);
/* request: [engine.Evaluation]; losses: JSON, for each of them a list with one number for each noise level, the noisiest first.
 * Weights, optimizer state, averages and step stay as they are, also after an error. */
STEPD_API stepd_status stepd_session_evaluate(stepd_session* s, const char* json, size_t json_size, stepd_buffer* losses,
                                              stepd_error* error);
STEPD_API stepd_status stepd_session_sample(stepd_session* s, const char* json, size_t json_size, stepd_error* error);
STEPD_API stepd_status stepd_session_save(stepd_session* s, const char* dir, size_t dir_size, stepd_buffer* files,
                                          stepd_error* error);
STEPD_API stepd_status stepd_session_restore(stepd_session* s, const char* dir, size_t dir_size, stepd_error* error);
STEPD_API stepd_status stepd_session_export(stepd_session* s, const char* json, size_t json_size, stepd_error* error);
STEPD_API int64_t stepd_session_step(const stepd_session* s);
/* Stops the call in progress at its next safe point, and every later one, until stepd_session_resume. Idempotent. */
STEPD_API void stepd_session_cancel(stepd_session* s);
STEPD_API void stepd_session_resume(stepd_session* s);
STEPD_API void stepd_session_destroy(stepd_session* s); /* NULL is legal; waits for native threads */

#ifdef __cplusplus
}
#endif

#endif
