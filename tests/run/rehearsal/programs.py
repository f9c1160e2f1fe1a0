"""Compiled programs as their text is written, small enough to count by hand."""

LOOP = """HloModule jit_step, is_scheduled=true

%body (p: (s32[], f32[12,384])) -> (s32[], f32[12,384]) {
  %p = (s32[]{:T(128)}, f32[12,384]{1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %all = f32[12,384]{1,0:T(8,128)} get-tuple-element(%p), index=1
  %one = f32[384]{0:T(512)} fusion(%all, %i), kind=kLoop, calls=%taken
  %sum = f32[384]{0:T(512)} all-reduce(%one), channel_id=3, replica_groups=[1,16]<=[16], to_apply=%add, \
metadata={op_name="jit(step)/transpose(jvp(Model))/encoder/block/fc/dot_general"}
  ROOT %r = (s32[]{:T(128)}, f32[12,384]{1,0:T(8,128)}) tuple(%i, %all)
}

%taken (q: f32[12,384], k: s32[]) -> f32[384] {
  %q = f32[12,384]{1,0:T(8,128)} parameter(0)
  %k = s32[]{:T(128)} parameter(1)
  %row = f32[1,384]{1,0:T(8,128)} dynamic-slice(%q, %k, %k), dynamic_slice_sizes={1,384}
  ROOT %flat = f32[384]{0:T(512)} bitcast(%row)
}

%turns (p.1: (s32[], f32[12,384])) -> pred[] {
  %p.1 = (s32[]{:T(128)}, f32[12,384]{1,0:T(8,128)}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%p.1), index=0
  %end = s32[]{:T(128)} constant(12)
  ROOT %lt = pred[]{:T(512)} compare(%i.1, %end), direction=LT
}

ENTRY %main (a: f32[12,384], b: bf16[45,128]) -> f32[720,128] {
  %a = f32[12,384]{1,0:T(8,128)} parameter(0)
  %b = bf16[45,128]{1,0:T(8,128)(2,1)} parameter(1)
  %zero = s32[]{:T(128)} constant(0)
  %start = (s32[]{:T(128)}, f32[12,384]{1,0:T(8,128)}) tuple(%zero, %a)
  %loop = (s32[]{:T(128)}, f32[12,384]{1,0:T(8,128)}) while(%start), condition=%turns, body=%body
  %near = (bf16[45,128]{1,0:T(8,128)(2,1)S(1)}, bf16[45,128]{1,0:T(8,128)(2,1)}, u32[]{:S(2)}) copy-start(%b)
  %here = bf16[45,128]{1,0:T(8,128)(2,1)S(1)} copy-done(%near)
  %wide = f32[45,128]{1,0:T(8,128)S(1)} convert(%here), metadata={op_name="jit(step)/jvp(objective)/embed"}, \
backend_config={"estimated_cycles":"1500"}
  %gather.1 = f32[720,128]{1,0:T(8,128)S(1)} all-gather(%wide), channel_id=7, replica_groups=[1,16]<=[16]
  %gather.2 = f32[720,128]{1,0:T(8,128)S(1)} all-gather(%wide), channel_id=7, replica_groups=[1,16]<=[16]
  %pair = (f32[720]{0}, /*index=1*/f32[]{:T(128)}) all-reduce(%norms, %loss), channel_id=9, \
replica_groups={{0,1,2,3},{4,5,6,7}}, metadata={op_name="jit(step)/jvp(objective)/reduce_sum"}
  %norms = f32[720]{0} broadcast(%loss), dimensions={}
  %loss = f32[]{:T(128)} constant(0)
  ROOT %out = f32[720,128]{1,0:T(8,128)} copy(%gather.1)
}
"""
