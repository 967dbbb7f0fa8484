#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "io/file.h"
#include "io/image_metadata.h"

namespace stepd {
namespace {

// Shared by reading and writing: where the bytes are, and the message of the error that ended the work.
struct PngWork {
    detail::Bytes input;
    std::vector<std::byte>* output = nullptr;
    bool out_of_memory = false;
    char message[128] = "";
};

[[noreturn]] void fail(png_structp png, png_const_charp message) {
    auto* work = static_cast<PngWork*>(png_get_error_ptr(png));
    std::snprintf(work->message, sizeof work->message, "%s", message);
    png_longjmp(png, 1);
}

void ignore_warning(png_structp, png_const_charp) {}

void read_bytes(png_structp png, png_bytep out, size_t count) {
    auto* work = static_cast<PngWork*>(png_get_io_ptr(png));
    if (count > work->input.size()) png_error(png, "the file is truncated");
    std::memcpy(out, work->input.data(), count);
    work->input = work->input.subspan(count);
}

void write_bytes(png_structp png, png_bytep bytes, size_t count) {
    auto* work = static_cast<PngWork*>(png_get_io_ptr(png));
    auto* from = reinterpret_cast<const std::byte*>(bytes);
    try {
        work->output->insert(work->output->end(), from, from + count);
    } catch (const std::bad_alloc&) {
        work->out_of_memory = true;
    }
    if (work->out_of_memory) png_error(png, "out of memory");
}

// Asks libpng for 8-bit RGB rows, or 16-bit gray ones (true), which saturate where libpng would take the high byte.
bool set_transforms(png_structp png, png_infop info) {
    int color = png_get_color_type(png, info);
    if (color == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png, info) == 16) return true;
    png_set_strip_16(png);
    png_set_strip_alpha(png);
    if (color == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
    if (!(color & PNG_COLOR_MASK_COLOR)) {
        png_set_expand_gray_1_2_4_to_8(png);
        png_set_gray_to_rgb(png);
    }
    return false;
}

struct PngTarget {
    Image& image;
    std::vector<uint8_t> gray16;  // rows of big-endian samples
    std::vector<png_bytep> rows;
};

// Everything between here and the return may leave by longjmp, so no object with a destructor lives in this frame.
bool decode_rows(png_structp png, png_infop info, PngTarget& target) {
    if (setjmp(png_jmpbuf(png))) return false;
    Image& image = target.image;
    png_set_user_limits(png, uint32_t(image.width), uint32_t(image.height));
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);  // no metadata
    png_read_info(png, info);
    bool gray16 = set_transforms(png, info);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    size_t row_bytes = size_t(image.width) * (gray16 ? 2 : 3);
    if (int(png_get_image_width(png, info)) != image.width || int(png_get_image_height(png, info)) != image.height ||
        png_get_rowbytes(png, info) != row_bytes) {
        png_error(png, "its headers contradict each other");
    }
    if (gray16) target.gray16.resize(row_bytes * size_t(image.height));
    uint8_t* first = gray16 ? target.gray16.data() : image.pixels.data();
    for (int y = 0; y < image.height; y++) target.rows[size_t(y)] = first + size_t(y) * row_bytes;
    png_read_image(png, target.rows.data());
    return true;
}

// Frees what libpng holds however reading ends: by return, or by an exception from the memory for rows.
struct PngReader {
    png_structp png;
    png_infop info;
    explicit PngReader(PngWork& work)
        : png(png_create_read_struct(PNG_LIBPNG_VER_STRING, &work, fail, ignore_warning)),
          info(png ? png_create_info_struct(png) : nullptr) {}
    ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
    PngReader(const PngReader&) = delete;
    PngReader& operator=(const PngReader&) = delete;
};

bool encode_rows(png_structp png, png_infop info, const Image& image) {
    if (setjmp(png_jmpbuf(png))) return false;
    png_set_IHDR(png, info, uint32_t(image.width), uint32_t(image.height), 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_compression_level(png, 6);
    png_write_info(png, info);
    for (int y = 0; y < image.height; y++) png_write_row(png, image.row(y));
    png_write_end(png, info);
    return true;
}

}  // namespace

Image detail::decode_png(Bytes bytes, const ImageMetadata& metadata, const std::string& name) {
    Image image(int(metadata.width), int(metadata.height));
    PngTarget target{image, {}, std::vector<png_bytep>(size_t(image.height))};
    PngWork work;
    work.input = bytes;
    PngReader reader(work);
    bool ok = false;
    if (reader.info) {
        png_set_read_fn(reader.png, &work, read_bytes);
        ok = decode_rows(reader.png, reader.info, target);
    }
    if (!ok) STEPD_IMAGE_ERROR(name, "cannot decode the PNG data: ", work.message);
    for (size_t i = 0; 2 * i < target.gray16.size(); i++) {
        uint8_t high = target.gray16[2 * i], low = target.gray16[2 * i + 1];
        std::memset(&image.pixels[3 * i], high ? 255 : low, 3);
    }
    return image;
}

std::vector<std::byte> encode_png(const Image& image) {
    STEPD_REQUIRE(image.width > 0 && image.height > 0, Code::invalid, "cannot encode a picture of ", image.width, " x ",
                  image.height, " pixels");
    std::vector<std::byte> output;
    PngWork work;
    work.output = &output;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &work, fail, ignore_warning);
    png_infop info = png ? png_create_info_struct(png) : nullptr;
    bool ok = false;
    if (info) {
        png_set_write_fn(png, &work, write_bytes, [](png_structp) {});
        ok = encode_rows(png, info, image);
    }
    png_destroy_write_struct(&png, &info);
    STEPD_REQUIRE(ok, Code::out_of_memory, "cannot encode a picture of ", image.width, " x ", image.height,
                  " pixels as PNG: ", work.message);
    return output;
}

void write_png(const std::string& path, const Image& image) {
    std::vector<std::byte> bytes = encode_png(image);
    AtomicFile file(path, bytes.size());
    file.write(std::span<const std::byte>(bytes));
    file.commit();
}

}  // namespace stepd
