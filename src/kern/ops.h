/* The operation table and the optimizer table: a row here is the first step of adding one. */
#ifndef LK_KERN_OPS_H
#define LK_KERN_OPS_H

/* NAME, name of its files and of lk_op_NAME, lk_kern_BACKEND_NAME */
#define LK_OP_LIST(X) \
    X(LINEAR, linear) \
    X(CONV, conv) \
    X(CONV_TRANSPOSE, conv_transpose) /* conv's input gradient as a layer */ \
    X(BATCH_NORM, batch_norm) \
    X(SPECTRAL_NORM, spectral_norm) /* over the largest singular value of the weight of the layer in front, plus a bias */ \
    X(ACTIVATION, activation) /* a function of one number, element by element */ \
    X(LAYER_NORM, layer_norm) /* over the last dimension */ \
    X(RMS_NORM, rms_norm)     /* over the last dimension */ \
    X(GROUP_NORM, group_norm) /* [B,C,...]: each sample's groups of channels */ \
    X(SOFTMAX, softmax)       /* over the last dimension */ \
    X(GLU, glu)               /* [B,...,2n] -> [B,...,n]: first half times act(second half) */ \
    X(MAX_POOL, max_pool) \
    X(AVG_POOL, avg_pool) \
    X(ADAPTIVE_AVG_POOL, adaptive_avg_pool) /* to a given size */ \
    X(GLOBAL_AVG_POOL, global_avg_pool) /* [B,C,...] -> [B,C] */ \
    X(GLOBAL_MAX_POOL, global_max_pool) /* likewise */ \
    X(UPSAMPLE, upsample)               /* each axis by a whole factor */ \
    X(FLATTEN, flatten)                 /* [B,...] -> [B,n], n in C H W order whatever the layout */ \
    X(DROPOUT, dropout) \
    X(ADD, add) /* two or more values of one shape */ \
    X(MULTIPLY, multiply) /* two values of one shape, or [B,C,...] and [B,C] */ \
    X(SCALE, scale)       /* times a constant */ \
    X(CONCAT, concat)     /* along an axis */ \
    X(SLICE, slice)       /* along an axis */ \
    X(RESHAPE, reshape) \
    X(PERMUTE, permute) \
    X(PAD, pad)           /* with a constant */ \
    X(REDUCE, reduce)     /* mean or sum over axes; x1 optional: lengths I64 [B] of axis 1 */ \
    X(EMBEDDING, embedding) /* ids I64 [B,...] -> [B,...,C] */ \
    X(POSITIONS, positions) /* [B,T,C] plus a vector of its own for each of the T places */ \
    X(ATTENTION, attention) /* packed q k v [B,T,(H+2G)D], or q [B,T,HD] and packed k v [B,S,2GD]; then lengths I64 [B] if any */ \
    X(REORDER, reorder)             /* PLAIN <-> NHWC: put in by the plan where neighbours differ; identity in ref */ \
    X(LSTM, lstm)                   /* x0 [B,T,C], x1 (optional) lengths I64 [B] -> [B,T,units]; gru, rnn the same */ \
    X(GRU, gru) \
    X(RNN, rnn) \
    X(LAST_STEP, last_step)         /* x0 [B,T,C], x1 (optional) lengths I64 [B] -> [B,C] */ \
    X(GAUSSIAN, gaussian)           /* x0 mean, x1 log variance, same shape: draws from that normal distribution */ \
    X(NOISE, noise)                 /* x0 [B,...] tells the rows: standard normal draws */ \
    X(CROSS_ENTROPY, cross_entropy) /* x0 logits [B,K], [B,T,K] or [B,K,H,W], x1 class ids I64 (the shape without K) or shares (the shape of x0) */ \
    X(BCE_LOGITS, bce_logits)       /* x0 logits, x1 targets in [0,1], same shape: per row the mean over elements, here and below */ \
    X(MSE, mse)                     /* x0 prediction, x1 target, same shape */ \
    X(MAE, mae)                     /* likewise */ \
    X(HUBER, huber)                 /* likewise */ \
    X(HINGE, hinge)                 /* x0 scores, x1 targets in [0,1] of the same shape, or class ids I64 [B] for scores [B], [B,1] or [B,K] */ \
    X(KL_NORMAL, kl_normal)         /* x0 mean, x1 log variance, same shape: per row the sum over elements */ \
    X(GAN, gan)                     /* x0 scores of a discriminator */

#define LK_OPT_LIST(X) \
    X(SGD, sgd) \
    X(ADAMW, adamw) \
    X(ADAM, adam) \
    X(RMSPROP, rmsprop) \
    X(ADAGRAD, adagrad) \
    X(LION, lion) \
    X(LARS, lars) \
    X(LAMB, lamb) \
    X(MUON, muon)

typedef enum lk_op {
#define X(NAME, name) LK_OP_##NAME,
    LK_OP_LIST(X)
#undef X
        LK_OP_COUNT
} lk_op;

typedef enum lk_opt {
#define X(NAME, name) LK_OPT_##NAME,
    LK_OPT_LIST(X)
#undef X
        LK_OPT_COUNT
} lk_opt;

#endif
