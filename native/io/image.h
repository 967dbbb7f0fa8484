// Pictures: decoding, resizing and PNG writing with the results of Pillow, so that a dataset prepared here equals one
// prepared in Python to the last bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace stepd {

// Red, green, blue, 8 bits each; row-major from the top left, rows without padding.
struct Image {
    int width = 0;
    int height = 0;
    std::vector<uint8_t> pixels;

    Image() = default;
    Image(int w, int h) : width(w), height(h), pixels(size_t(w) * size_t(h) * 3) {}
    const uint8_t* row(int y) const { return pixels.data() + size_t(y) * size_t(width) * 3; }
    uint8_t* row(int y) { return pixels.data() + size_t(y) * size_t(width) * 3; }
};

enum class ImageFormat { jpeg, png, webp };
const char* name_of(ImageFormat format);  // "jpeg", "png", "webp"

struct ImageInfo {
    ImageFormat format = ImageFormat::jpeg;
    int width = 0;  // after orientation, as decode returns it
    int height = 0;
};

struct DecodeOptions {
    int64_t max_pixels = int64_t(64) << 20;
    uint64_t max_bytes = uint64_t(256) << 20;  // of the file
    // Convert from an embedded RGB or gray ICC profile to sRGB. Off, pixels are Pillow's. A profile that cannot be
    // read, or is for another kind of pixel, leaves them unchanged.
    bool to_srgb = false;
};

// Size and format from the file's headers, without decoding.
ImageInfo probe_image(const std::string& path, const DecodeOptions& options = {});

// The picture as Pillow's Image.open, ImageOps.exif_transpose, convert("RGB") make it: alpha and transparency are
// dropped, 16-bit gray saturates at 255, CMYK is inverted first, an animation gives its first frame. JPEG, PNG and
// WebP. Errors name the file and the reason: not_found or io for reading, unsupported for other formats, invalid for
// damaged or truncated files and for those over a limit.
Image decode_image(const std::string& path, const DecodeOptions& options = {});
// The same from memory; `name` stands for the file in messages.
Image decode_image(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options = {});

enum class ResizeFilter { box, bilinear, bicubic, lanczos };

// Pillow's Image.resize(size, filter) without reducing gap: two passes of 22-bit fixed-point weights, rounded and
// clipped to 8 bits after each.
Image resize(const Image& image, int width, int height, ResizeFilter filter);

Image crop(const Image& image, int left, int top, int width, int height);
Image flip_horizontally(const Image& image);

// The size to which width x height is resized so that it covers target_width x target_height: one scale for both sides,
// each rounded half to even, and at least the target.
struct ImageSize {
    int width = 0;
    int height = 0;
};
ImageSize cover_size(int width, int height, int target_width, int target_height);

// PNG bytes: 8-bit RGB, no other chunks than needed. Equal pictures give equal bytes.
std::vector<std::byte> encode_png(const Image& image);
void write_png(const std::string& path, const Image& image);

}  // namespace stepd
