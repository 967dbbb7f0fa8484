#include <csetjmp>
#include <cstdio>
// jpeglib.h needs size_t and FILE declared before it.
#include <jpeglib.h>

#include <jerror.h>

#include "io/image_metadata.h"

namespace stepd::detail {
namespace {

constexpr int kMaxScans = 500;  // a small progressive file can otherwise ask for hours of work

struct JpegDecoder {
    jpeg_decompress_struct codec;
    jpeg_error_mgr errors;
    jpeg_source_mgr source;
    jpeg_progress_mgr progress;
    jmp_buf failed;
    char message[JMSG_LENGTH_MAX];
};

JpegDecoder* decoder_of(j_common_ptr codec) { return static_cast<JpegDecoder*>(codec->client_data); }

[[noreturn]] void fail(j_common_ptr codec) {
    codec->err->format_message(codec, decoder_of(codec)->message);
    std::longjmp(decoder_of(codec)->failed, 1);
}

[[noreturn]] void fail_truncated(j_decompress_ptr codec) {
    std::snprintf(decoder_of(j_common_ptr(codec))->message, JMSG_LENGTH_MAX, "the file is truncated");
    std::longjmp(decoder_of(j_common_ptr(codec))->failed, 1);
}

void skip(j_decompress_ptr codec, long count) {
    if (count <= 0) return;
    if (size_t(count) > codec->src->bytes_in_buffer) fail_truncated(codec);
    codec->src->next_input_byte += count;
    codec->src->bytes_in_buffer -= size_t(count);
}

void limit_scans(j_common_ptr codec) {
    if (j_decompress_ptr(codec)->input_scan_number <= kMaxScans) return;
    std::snprintf(decoder_of(codec)->message, JMSG_LENGTH_MAX, "more than %d progressive scans", kMaxScans);
    std::longjmp(decoder_of(codec)->failed, 1);
}

void set_up(JpegDecoder& decoder, Bytes bytes) {
    decoder.codec.err = jpeg_std_error(&decoder.errors);
    decoder.codec.client_data = &decoder;
    decoder.errors.error_exit = fail;
    decoder.errors.output_message = [](j_common_ptr) {};
    jpeg_create_decompress(&decoder.codec);
    decoder.codec.client_data = &decoder;
    decoder.source = {};
    decoder.source.next_input_byte = reinterpret_cast<const JOCTET*>(bytes.data());
    decoder.source.bytes_in_buffer = bytes.size();
    decoder.source.init_source = [](j_decompress_ptr) {};
    decoder.source.fill_input_buffer = [](j_decompress_ptr codec) -> boolean { fail_truncated(codec); };
    decoder.source.skip_input_data = skip;
    decoder.source.resync_to_restart = jpeg_resync_to_restart;
    decoder.source.term_source = [](j_decompress_ptr) {};
    decoder.codec.src = &decoder.source;
    decoder.progress = {};
    decoder.progress.progress_monitor = limit_scans;
    decoder.codec.progress = &decoder.progress;
}

uint8_t multiply_255(int a, int b) {
    int t = a * b + 128;
    return uint8_t(((t >> 8) + t) >> 8);
}

// Turns one decoded row, stored at the end of `row`, into RGB in place. CMYK samples are inverted in files, as Adobe
// began and every encoder followed.
void expand_row(uint8_t* row, const uint8_t* samples, int width, int components) {
    for (int x = 0; x < width; x++) {
        if (components == 1) {
            row[3 * x] = row[3 * x + 1] = row[3 * x + 2] = samples[x];
            continue;
        }
        int key = samples[4 * x + 3];
        for (int c = 0; c < 3; c++) row[3 * x + c] = uint8_t(key - multiply_255(255 - samples[4 * x + c], key));
    }
}

// Everything between here and the return may leave by longjmp, so no object with a destructor lives in this frame.
bool decode_rows(JpegDecoder& decoder, Bytes bytes, Image& image, uint8_t* samples) {
    if (setjmp(decoder.failed)) return false;
    set_up(decoder, bytes);
    jpeg_decompress_struct& codec = decoder.codec;
    jpeg_read_header(&codec, TRUE);
    int components = codec.num_components;
    if (components != 1 && components != 3 && components != 4) {
        std::snprintf(decoder.message, JMSG_LENGTH_MAX, "has %d colour components; 1, 3 or 4 are supported",
                      components);
        return false;
    }
    codec.out_color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_start_decompress(&codec);
    if (int(codec.output_width) != image.width || int(codec.output_height) != image.height ||
        codec.output_components != components) {
        std::snprintf(decoder.message, JMSG_LENGTH_MAX, "its frame headers contradict each other");
        return false;
    }
    while (codec.output_scanline < codec.output_height) {
        uint8_t* row = image.row(int(codec.output_scanline));
        uint8_t* target = components == 3 ? row : samples;
        jpeg_read_scanlines(&codec, &target, 1);
        if (components != 3) expand_row(row, samples, image.width, components);
    }
    // What follows the last row is not needed, and is often missing.
    return true;
}

}  // namespace

Image decode_jpeg(Bytes bytes, const ImageMetadata& metadata, const std::string& name) {
    Image image(int(metadata.width), int(metadata.height));
    std::vector<uint8_t> samples(size_t(image.width) * 4);
    JpegDecoder decoder{};
    bool ok = decode_rows(decoder, bytes, image, samples.data());
    jpeg_destroy_decompress(&decoder.codec);
    if (!ok) STEPD_IMAGE_ERROR(name, "cannot decode the JPEG data: ", decoder.message);
    return image;
}

}  // namespace stepd::detail
