# fastmath: {'nsz', 'reassoc'}
import math

import numpy as np

f32, f64, i32, i64, u32, u64 = np.float32, np.float64, np.int32, np.int64, np.uint32, np.uint64
u16 = np.uint16
floor = np.floor

real = f32
BLOCK_ROWS = 128
exp_1 = f32(-87.3)
exp_3 = f32(88.722839)
exp_5 = f32(1.4426950408889634)
exp_7 = f32(0.5)
exp_10 = f32(0.693359375)
exp_13 = f32(-0.00021219444)
exp_16 = f32(0.000198756915)
exp_18 = f32(0.0013981999507)
exp_21 = f32(0.0083334519073)
exp_24 = f32(0.041665795894)
exp_27 = f32(0.16666665459)
exp_30 = f32(0.50000001201)
exp_35 = f32(1.0)
exp_37 = f32(127.0)
exp_42 = f32(2.0)
exp_47 = f32(float("inf"))
exp_49 = f32(0.0)


@numba.njit(error_model="numpy")
def exp(x):
    exp_0 = x
    exp_2 = exp_1 if exp_0 < exp_1 else exp_0
    exp_4 = exp_3 if exp_3 < exp_2 else exp_2
    exp_6 = exp_4 * exp_5
    exp_8 = exp_6 + exp_7
    exp_9 = f32(floor(exp_8))
    exp_11 = exp_9 * exp_10
    exp_12 = exp_4 - exp_11
    exp_14 = exp_9 * exp_13
    exp_15 = exp_12 - exp_14
    exp_17 = exp_16 * exp_15
    exp_19 = exp_17 + exp_18
    exp_20 = exp_19 * exp_15
    exp_22 = exp_20 + exp_21
    exp_23 = exp_22 * exp_15
    exp_25 = exp_23 + exp_24
    exp_26 = exp_25 * exp_15
    exp_28 = exp_26 + exp_27
    exp_29 = exp_28 * exp_15
    exp_31 = exp_29 + exp_30
    exp_32 = exp_31 * exp_15
    exp_33 = exp_32 * exp_15
    exp_34 = exp_33 + exp_15
    exp_36 = exp_34 + exp_35
    exp_38 = exp_37 if exp_37 < exp_9 else exp_9
    exp_39 = i32((i32(exp_38) + i32(127)) << i32(23)).view(np.float32)
    exp_40 = exp_36 * exp_39
    exp_41 = exp_9 > exp_37
    exp_43 = exp_42 if exp_41 else exp_35
    exp_44 = exp_40 * exp_43
    exp_45 = exp_0 < exp_1
    exp_46 = exp_0 > exp_3
    exp_48 = exp_47 if exp_46 else exp_44
    exp_50 = exp_49 if exp_45 else exp_48
    return exp_50


@numba.njit(error_model="numpy")
def row_top(x, i):
    # The largest of a row; NaN is left to whoever reads the row.
    top = x[i, 0]
    for j in range(1, x.shape[1]):
        top = x[i, j] if x[i, j] > top else top
    return top


def softmax(x, out):
    rows, width = x.shape
    for i in range(rows):
        top = row_top(x, i)
        for j in range(width):
            out[i, j] = exp(x[i, j] - top)
        total = real(0.0)
        for j in range(width):
            total += out[i, j]
        inverse = real(1.0) / total
        for j in range(width):
            out[i, j] *= inverse
