#include "importing.h"

#include "data/import/import_int.h"

#include <math.h>

static void clean_up(void)
{
    lk_buf_fini(&report);
    remove_dir();
}

TestSuite(import_wav, .init = make_dir, .fini = clean_up);

static unsigned char file[1 << 17];
static size_t used;

static void put(const void *data, size_t n)
{
    memcpy(file + used, data, n);
    used += n;
}

static void put_number(uint32_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        file[used++] = (unsigned char)(v >> (8 * i));
}

static void put_format(int tag, int channels, int rate, int bits)
{
    put("fmt ", 4);
    put_number(16, 4);
    put_number((uint32_t)tag, 2);
    put_number((uint32_t)channels, 2);
    put_number((uint32_t)rate, 4);
    put_number((uint32_t)(rate * channels * bits / 8), 4);
    put_number((uint32_t)(channels * bits / 8), 2);
    put_number((uint32_t)bits, 2);
}

static void begin_wav(void)
{
    used = 0;
    put("RIFF", 4);
    put_number(0, 4);
    put("WAVE", 4);
}

static int sample(int i, int seed)
{
    return (int)(6000 * sin(0.1 * i * (seed + 1)) + 2000 * sin(0.013 * i * i)) + i % 7;
}

static void make_wav(int n, int channels, int rate, int seed)
{
    begin_wav();
    put_format(1, channels, rate, 16);
    put("data", 4);
    put_number((uint32_t)(2 * n * channels), 4);
    for (int i = 0; i < n; i++)
        for (int c = 0; c < channels; c++)
            put_number((uint32_t)(sample(i, seed) + (c == 0 ? 50 : -50) * (channels > 1)), 2);
}

static void write_wav(const char *name, int n, int channels, int rate, int seed)
{
    make_wav(n, channels, rate, seed);
    write_text(name, file, used);
}

/* The log-mel spectrum of a frame, straight from its definition. */
static void want_frame(int rate, int window, int fft, int bands, int first, int n, int seed, double *out)
{
    const double pi = acos(-1);
    const double top = 2595 * log10(1 + rate / 2.0 / 700);

    for (int b = 0; b < bands; b++) {
        double energy = 0;
        for (int k = 0; k <= fft / 2; k++) {
            const double mel = 2595 * log10(1 + (double)k * rate / fft / 700), left = top * b / (bands + 1),
                         middle = top * (b + 1) / (bands + 1), right = top * (b + 2) / (bands + 1);
            const double w = mel <= left || mel >= right ? 0
                             : mel <= middle             ? (mel - left) / (middle - left)
                                                         : (right - mel) / (right - middle);
            double re = 0, im = 0;
            if (w == 0)
                continue;
            for (int i = 0; i < window; i++) {
                const double x = first + i < n ? sample(first + i, seed) / 32768.0 : 0;
                const double h = 0.5 - 0.5 * cos(2 * pi * i / window);
                re += x * h * cos(2 * pi * k * i / fft);
                im -= x * h * sin(2 * pi * k * i / fft);
            }
            energy += w * (re * re + im * im);
        }
        out[b] = log(fmax(energy, 1e-10));
    }
}

static void expect_frames(const float *mel, int window, int hop, int fft, int bands, int frames, int n, int seed)
{
    double want[64];

    for (int t = 0; t < frames; t++) {
        want_frame(8000, window, fft, bands, t * hop, n, seed, want);
        for (int b = 0; b < bands; b++) /* double against double, stored as float32 */
            cr_assert(fabs(mel[t * bands + b] - want[b]) < 1e-5, "frame %d, band %d: %g, expected %g", t, b,
                (double)mel[t * bands + b], want[b]);
    }
}

Test(import_wav, spectrograms)
{
    static float mel[3][8][20];
    int32_t length[3];
    int64_t label[3];
    bool seen[3] = {0};

    EXPECT_OK(lk_dir_create(at("in")));
    write_wav("in/seven_ann_0.wav", 760, 1, 8000, 0); /* 200 + 7 * 80: 8 frames */
    write_wav("in/one_bob_0.WAV", 759, 2, 8000, 1); /* 7 frames; the mean of two channels */
    write_wav("in/seven_bob_1.wav", 90, 1, 8000, 2); /* less than a window */
    write_text("in/readme.txt", "x", 1);
    EXPECT_OK(run_import("wav", "DIR/in DIR/a.h5 --bands 20"));
    EXPECT_TEXT(
        lk_buf_text(&report), about("DIR/a.h5: 3 samples, mel float32 [3,8,20], length int32 [3], label int64 [3]\n"
                                    "2 classes, the longest recording has 8 frames\n"));
    expect_attr("a.h5", "label", "classes", "one\nseven");
    read_back("a.h5", "mel", LK_ELEM_F32, 3, (int64_t[]){3, 8, 20}, mel);
    read_back("a.h5", "length", LK_ELEM_I32, 1, (int64_t[]){3}, length);
    read_back("a.h5", "label", LK_ELEM_I64, 1, (int64_t[]){3}, label);
    static const int samples[] = {760, 759, 90}, frames[] = {8, 7, 1};
    for (int i = 0; i < 3; i++) {
        const int which = length[i] == 8 ? 0 : length[i] == 7 ? 1 : 2;
        cr_assert(!seen[which] && length[i] == frames[which] && label[i] == (which != 1));
        seen[which] = true;
        expect_frames(mel[i][0], 200, 80, 256, 20, length[i], samples[which], which);
        for (int t = length[i]; t < 8; t++)
            for (int b = 0; b < 20; b++)
                cr_assert(mel[i][t][b] == (float)log(1e-10));
    }

    hid_t h5 = -1;
    int64_t rate = 0;
    double silence = 0;
    EXPECT_OK(lk_h5_open(at("a.h5"), &h5));
    EXPECT_OK(lk_h5_get_i64(h5, "mel", "rate", &rate));
    EXPECT_OK(lk_h5_get_f64(h5, "mel", "silence", &silence));
    EXPECT_OK(lk_h5_close(&h5, "a.h5"));
    cr_expect(rate == 8000 && silence == log(1e-10));
}

/* Selection does not touch the numbers of the classes nor the length; frames that lie apart; cutting. */
Test(import_wav, selection_hops_and_cuts)
{
    static float mel[64 * 20];
    int64_t label[2];
    int32_t length[2];

    EXPECT_OK(lk_dir_create(at("in")));
    write_wav("in/b_x_0.wav", 1000, 1, 8000, 3);
    write_wav("in/a_x_0.wav", 100, 1, 8000, 0);
    write_wav("in/b_x_11.wav", 500, 1, 8000, 1);
    write_wav("in/c_x_5.wav", 500, 1, 8000, 2);
    EXPECT_OK(run_import("wav", "DIR/in DIR/a.h5 --match *_0.wav --except a_* --bands 8"));
    EXPECT_TEXT(
        lk_buf_text(&report), about("DIR/a.h5: 1 samples, mel float32 [1,11,8], length int32 [1], label int64 [1]\n"
                                    "3 classes, the longest recording has 11 frames\n"));
    read_back("a.h5", "label", LK_ELEM_I64, 1, (int64_t[]){1}, label);
    cr_expect(label[0] == 1);
    EXPECT_OK(
        run_import("wav", "DIR/in DIR/a.h5 --match *_5.wav --match *_11.wav --bands 8 --split 0.5 --rest DIR/b.h5"));
    read_back("a.h5", "label", LK_ELEM_I64, 1, (int64_t[]){1}, label);
    read_back("b.h5", "label", LK_ELEM_I64, 1, (int64_t[]){1}, label + 1);
    cr_expect(label[0] + label[1] == 3 && label[0] != label[1]);

    /* windows of 4 ms = 32 samples, 20 ms = 160 apart: 1 + (1000 - 32) / 160 = 7 */
    EXPECT_OK(run_import("wav", "DIR/in DIR/a.h5 --match b_x_0.wav --window 4 --hop 20 --bands 5"));
    read_back("a.h5", "mel", LK_ELEM_F32, 3, (int64_t[]){1, 7, 5}, mel);
    expect_frames(mel, 32, 160, 32, 5, 7, 1000, 3);
    EXPECT_OK(run_import("wav", "DIR/in DIR/a.h5 --match b_x_0.wav --max-frames 3 --bands 8"));
    EXPECT_TEXT(
        lk_buf_text(&report), about("DIR/a.h5: 1 samples, mel float32 [1,3,8], length int32 [1], label int64 [1]\n"
                                    "3 classes, the longest recording has 11 frames: longer ones are cut\n"));
    read_back("a.h5", "mel", LK_ELEM_F32, 3, (int64_t[]){1, 3, 8}, mel);
    read_back("a.h5", "length", LK_ELEM_I32, 1, (int64_t[]){1}, length);
    expect_frames(mel, 200, 80, 256, 8, 3, 1000, 3);
    cr_expect(length[0] == 3);
    EXPECT_OK(run_import("wav", "DIR/in DIR/a.h5 --label-pattern ?_{}_*.wav --bands 8"));
    expect_attr("a.h5", "label", "classes", "x");
}

Test(import_wav, labels_in_names)
{
    static const struct {
        const char *pattern, *name, *want; /* NULL: none */
    } t[] = {{"{}_*", "7_theo_0.wav", "7"}, {"*_{}_*", "7_theo_0.wav", "theo"}, {"*_{}.wav", "7_theo_0.wav", "theo_0"},
        {"?_*_{}.*", "7_theo_12.wav", "12"}, {"{}", "a.wav", "a.wav"}, {"x{}", "a.wav", NULL},
        {"a{}.wav", "a.wav", NULL}, {"[0-9]{}", "7", NULL}, {"none", "none", NULL}};

    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        size_t first = 0, n = 0;
        const bool found = lki_label_in_name(t[i].pattern, t[i].name, &first, &n);
        cr_expect(found == (t[i].want != NULL), "%s, %s", t[i].pattern, t[i].name);
        if (found)
            cr_expect(n == strlen(t[i].want) && memcmp(t[i].name + first, t[i].want, n) == 0, "%s, %s: %.*s",
                t[i].pattern, t[i].name, (int)n, t[i].name + first);
    }
}

Test(import_wav, chunks_and_formats)
{
    int64_t label;

    EXPECT_OK(lk_dir_create(at("in")));
    begin_wav();
    put("LIST", 4); /* of 3 bytes, and one to make it even */
    put_number(3, 4);
    put("abc", 4);
    put("fmt ", 4); /* the long form */
    put_number(40, 4);
    put_number(0xfffe, 2);
    put_number(1, 2);
    put_number(8000, 4);
    put_number(16000, 4);
    put_number(2, 2);
    put_number(16, 2);
    put_number(22, 2);
    put_number(16, 2);
    put_number(4, 4);
    put_number(1, 2);
    put("\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71", 14);
    put("data", 4);
    put_number(4, 4);
    put_number(7, 4);
    put("LIST", 4); /* what stands behind the sound does not matter */
    write_text("in/a_.wav", file, used);
    EXPECT_OK(run_import("wav", "DIR/in DIR/a.h5 --bands 8"));
    read_back("a.h5", "label", LK_ELEM_I64, 1, (int64_t[]){1}, &label);
}

static void expect_bad(const char *message)
{
    write_text("in/a_.wav", file, used);
    expect_import_refused("wav", "DIR/in DIR/a.h5 --bands 8", LK_E_FORMAT, message);
}

Test(import_wav, what_is_refused)
{
    expect_import_refused("wav", "DIR/in DIR/a.h5", LK_E_NOT_FOUND, "DIR/in: open: No such file or directory");
    EXPECT_OK(lk_dir_create(at("in")));
    expect_import_refused("wav", "DIR/in DIR/a.h5", LK_E_FORMAT, "DIR/in: no *.wav files in it");
    write_wav("in/a.wav", 300, 1, 8000, 0);
    expect_import_refused(
        "wav", "DIR/in DIR/a.h5", LK_E_FORMAT, "DIR/in/a.wav: its name does not match --label-pattern {}_*");
    unlink(at("in/a.wav"));
    write_wav("in/a_.wav", 300, 1, 8000, 0);
    expect_import_refused("wav", "DIR/in DIR/a.h5 --label-pattern x", LK_E_ARG,
        "--label-pattern x: {} is missing, which stands for the label");
    expect_import_refused("wav", "DIR/in DIR/a.h5 --match b*", LK_E_ARG, "DIR/in: --match and --except leave no file");
    expect_import_refused("wav", "DIR/in DIR/a.h5 --bands 200", LK_E_ARG,
        "--bands 200: band 1 is narrower than the frequencies of a window of 200 samples lie apart; fewer bands, or a "
        "longer --window");
    expect_import_refused("wav", "DIR/in DIR/a.h5 --window 0.1", LK_E_ARG,
        "--window 0.1, --hop 10: 1 and 80 samples at 8000 Hz; 2 and 1 are the least");
    write_wav("in/b_.wav", 300, 1, 16000, 0);
    expect_import_refused(
        "wav", "DIR/in DIR/a.h5 --bands 8", LK_E_FORMAT, "DIR/in/b_.wav: 16000 Hz, the files before it have 8000");
    unlink(at("in/b_.wav"));

    make_wav(300, 1, 8000, 0);
    for (size_t cut = 0; cut < used; cut += cut < 50 ? 1 : 97) {
        char message[100];
        snprintf(message, sizeof message, "DIR/in/a_.wav: truncated: it ends at byte %zu, within %s", cut,
            cut < 12   ? "the header"
            : cut < 20 ? "a chunk's header"
            : cut < 36 ? "the format chunk"
            : cut < 44 ? "a chunk's header"
                       : "the sound");
        write_text("in/a_.wav", file, cut);
        expect_import_refused("wav", "DIR/in DIR/a.h5 --bands 8 --max-frames 1", LK_E_FORMAT, message);
    }
    memcpy(file, "RIFX", 4);
    expect_bad("DIR/in/a_.wav: not a WAV file: it does not begin with RIFF and WAVE");
    begin_wav();
    put_format(3, 1, 8000, 32);
    expect_bad("DIR/in/a_.wav: format 3 of 32 bits; PCM (1) of 16 bits is read");
    begin_wav();
    put_format(1, 1, 8000, 8);
    expect_bad("DIR/in/a_.wav: format 1 of 8 bits; PCM (1) of 16 bits is read");
    begin_wav();
    put_format(1, 0, 8000, 16);
    expect_bad("DIR/in/a_.wav: 0 channels at 8000 Hz, 0 bytes a sample: that cannot be");
    begin_wav();
    put_format(1, 1, 0, 16);
    expect_bad("DIR/in/a_.wav: 1 channels at 0 Hz, 2 bytes a sample: that cannot be");
    begin_wav();
    put("fmt ", 4);
    put_number(15, 4);
    expect_bad("DIR/in/a_.wav: format chunk of 15 bytes, 16 or more are needed");
    begin_wav();
    put("data\4\0\0\0....", 12);
    expect_bad("DIR/in/a_.wav: byte 20: sound without a format chunk before it");
    begin_wav();
    put_format(1, 2, 8000, 16);
    put("data\6\0\0\0......", 14);
    expect_bad("DIR/in/a_.wav: 6 bytes of sound are no whole number of samples");
    begin_wav();
    put_format(1, 1, 8000, 16);
    put("data\0\0\0\0", 8);
    expect_bad("DIR/in/a_.wav: 0 bytes of sound are no whole number of samples");
    begin_wav();
    put_format(1, 1, 8000, 16);
    put("LIST\xff\xff\xff\xff..", 10);
    expect_bad("DIR/in/a_.wav: truncated: it ends at byte 46, within a chunk before the sound");
}

Test(import_wav, out_of_memory_at_every_point)
{
    EXPECT_OK(lk_dir_create(at("in")));
    write_wav("in/a_.wav", 300, 1, 8000, 0);
    write_wav("in/b_.wav", 300, 1, 8000, 1);
    expect_out_of_memory_is_fine("wav", "DIR/in DIR/a.h5 --bands 8 --split 0.5 --rest DIR/b.h5");
}
