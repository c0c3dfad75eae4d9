/* Shared by the kernels: whole numbers alone, every index checked against what the caller said. */

#include <stdint.h>
#include <stddef.h>
#include <string.h>

#ifndef API
#ifdef _WIN32
#define API __declspec(dllexport)
#else
#define API __attribute__((visibility("default")))
#endif
#endif

#ifdef _MSC_VER
#define INLINE static __forceinline
#else
#define INLINE static inline __attribute__((always_inline))
#endif

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t largest(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t clipped(int64_t a, int64_t low, int64_t high) { return a < low ? low : a > high ? high : a; }
