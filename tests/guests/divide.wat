  ;; Divides by the number of frames, two calls deep; loops forever with more than one frame.
  (func $quotient (param $by i32) (result i32)
    (i32.div_u (i32.const 1) (local.get $by)))
  (func $spin
    (loop $for-ever (br $for-ever)))
  (func $carry (param $by i32) (result i32)
    (if (i32.gt_u (local.get $by) (i32.const 1)) (then (call $spin)))
    (call $quotient (local.get $by)))
  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    (drop (call $carry (local.get 3)))
    (call $reply (local.get 2) (local.get 3)))
