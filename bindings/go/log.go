package bge

/*
#include <bge.h>

void bgeGoLog(void *user_data, bge_log_level level, char *line);

static void bge_go_line(void *user_data, bge_log_level level, const char *line) {
    bgeGoLog(user_data, level, (char *)line);
}
static void bge_go_log(bge_log_level level) { bge_set_log_callback(bge_go_line, NULL, level); }
static void bge_go_log_off(void) { bge_set_log_callback(NULL, NULL, BGE_LOG_OFF); }
*/
import "C"

import (
	"sync/atomic"
	"unsafe"
)

// LogLevel is how much to log. Each includes those before it.
type LogLevel uint32

// The levels of bge.h.
const (
	LogOff   LogLevel = C.BGE_LOG_OFF
	LogError LogLevel = C.BGE_LOG_ERROR
	LogWarn  LogLevel = C.BGE_LOG_WARN
	LogInfo  LogLevel = C.BGE_LOG_INFO
	LogDebug LogLevel = C.BGE_LOG_DEBUG
)

var logTo atomic.Pointer[func(LogLevel, string)]

// SetLog sends log lines up to a level, of every model in the process, to a
// function. With nil no lines are sent, which is the initial state. Lines never
// contain the texts that are encoded. The function may run on several threads at
// once and must not call this package. If it panics, the panic is dropped, since it
// cannot pass through C.
func SetLog(level LogLevel, to func(level LogLevel, line string)) {
	if to == nil || level == LogOff {
		C.bge_go_log_off()
		logTo.Store(nil)
		return
	}
	logTo.Store(&to)
	C.bge_go_log(C.bge_log_level(level))
}

//export bgeGoLog
func bgeGoLog(_ unsafe.Pointer, level C.bge_log_level, line *C.char) {
	defer func() { _ = recover() }()
	if to := logTo.Load(); to != nil {
		(*to)(LogLevel(level), C.GoString(line))
	}
}
