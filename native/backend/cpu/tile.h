// AMX tiles: eight registers of 16 rows x 64 bytes. With STEPD_AMX_EMULATE the same operations run on ordinary memory,
// so that machines without tiles can check the kernels built on them. Tile numbers must be literals.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "backend/cpu/simd.h"

namespace stepd::STEPD_ISA {

constexpr int kTileRows = 16;   // rows of a tile
constexpr int kTileBytes = 64;  // bytes of a tile row: 16 f32 or 32 bf16

// Orders ordinary stores before the tile loads that read them: gcc 12 does not know that a tile load reads memory.
inline void tile_fence() { __asm__ volatile("" ::: "memory"); }

#ifndef STEPD_AMX_EMULATE

// Configures all eight tiles as 16 x 64 bytes on this thread for the lifetime of the object, and releases them after,
// so that context switches outside of matrix products need not save them.
class TileScope {
public:
    TileScope() {
        struct alignas(64) {
            uint8_t palette = 1, start_row = 0, reserved[14] = {};
            uint16_t row_bytes[16] = {};
            uint8_t rows[16] = {};
        } config;
        for (int t = 0; t < 8; t++) {
            config.row_bytes[t] = kTileBytes;
            config.rows[t] = kTileRows;
        }
        __asm__ volatile("" ::"r"(&config) : "memory");  // as tile_fence()
        _tile_loadconfig(&config);
    }
    ~TileScope() { _tile_release(); }
    TileScope(const TileScope&) = delete;
    TileScope& operator=(const TileScope&) = delete;
};

#define STEPD_TILE_ZERO(t) _tile_zero(t)
#define STEPD_TILE_LOAD(t, from, stride) _tile_loadd(t, from, stride)
#define STEPD_TILE_LOAD_STREAM(t, from, stride) _tile_stream_loadd(t, from, stride)
#define STEPD_TILE_STORE(t, to, stride) _tile_stored(t, to, stride)
#define STEPD_TILE_DOT(c, a, b) _tile_dpbf16ps(c, a, b)  // c[16][16] += a[16][32] * b, b as k pairs [16][16][2]

#else

struct EmulatedTile {
    alignas(64) uint8_t bytes[kTileRows][kTileBytes];
};
// Not inline: objcopy cannot make the unique symbol of an inline variable local to one joined object.
static thread_local EmulatedTile emulated_tiles[8];

// The content of the tiles is undefined before and after, as on the machine: NaN here.
class TileScope {
public:
    TileScope() { std::memset(emulated_tiles, 0xff, sizeof emulated_tiles); }
    ~TileScope() { std::memset(emulated_tiles, 0xff, sizeof emulated_tiles); }
    TileScope(const TileScope&) = delete;
    TileScope& operator=(const TileScope&) = delete;
};

inline void emulated_load(EmulatedTile& t, const void* from, int64_t stride) {
    for (int r = 0; r < kTileRows; r++)
        std::memcpy(t.bytes[r], static_cast<const char*>(from) + r * stride, kTileBytes);
}
inline void emulated_store(const EmulatedTile& t, void* to, int64_t stride) {
    for (int r = 0; r < kTileRows; r++) std::memcpy(static_cast<char*>(to) + r * stride, t.bytes[r], kTileBytes);
}
inline void emulated_dot(EmulatedTile& c, const EmulatedTile& a, const EmulatedTile& b) {
    const __m512i upper = _mm512_set1_epi32(int(0xffff0000));
    for (int m = 0; m < kTileRows; m++) {
        __m512 sum = _mm512_load_ps(c.bytes[m]);
        for (int pair = 0; pair < kTileRows; pair++) {
            uint32_t bits;
            std::memcpy(&bits, a.bytes[m] + 4 * pair, 4);
            __m512i bk = _mm512_load_si512(b.bytes[pair]);
            __m512 even = _mm512_castsi512_ps(_mm512_slli_epi32(bk, 16));
            __m512 odd = _mm512_castsi512_ps(_mm512_and_si512(bk, upper));
            sum = _mm512_fmadd_ps(_mm512_set1_ps(std::bit_cast<float>(bits << 16)), even, sum);
            sum = _mm512_fmadd_ps(_mm512_set1_ps(std::bit_cast<float>(bits & 0xffff0000u)), odd, sum);
        }
        _mm512_store_ps(c.bytes[m], sum);
    }
}

#define STEPD_TILE_ZERO(t) std::memset(emulated_tiles[t].bytes, 0, sizeof(EmulatedTile))
#define STEPD_TILE_LOAD(t, from, stride) emulated_load(emulated_tiles[t], from, stride)
#define STEPD_TILE_LOAD_STREAM(t, from, stride) emulated_load(emulated_tiles[t], from, stride)
#define STEPD_TILE_STORE(t, to, stride) emulated_store(emulated_tiles[t], to, stride)
#define STEPD_TILE_DOT(c, a, b) emulated_dot(emulated_tiles[c], emulated_tiles[a], emulated_tiles[b])

#endif

}  // namespace stepd::STEPD_ISA
