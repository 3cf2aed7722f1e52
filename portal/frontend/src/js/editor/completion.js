// @ts-check
// Completion and help from the SDK's own signatures and docstrings (`portal/sdk.py`), the channels
// that the reactors have, and the parameters that the script declares.

/** @typedef {{name: string, kind: string, doc: string, signature: string, arguments: string[]}} Member */
/** @typedef {{name: string, doc: string, members: Member[]}} Module */
/** @typedef {{name: string, label: string, unit: string, limits?: Record<string, number | null>}} Channel */

const TYPE = { function: 'function', class: 'class', property: 'property' };

/** A docstring as elements: signature, text. @param {Member} member @param {string} module */
function help(member, module) {
  const box = document.createElement('div');
  box.className = 'cm-help';
  const head = document.createElement('code');
  head.textContent = `${module}.${member.name}${member.signature}`;
  const text = document.createElement('p');
  text.textContent = member.doc;
  box.append(head, text);
  return box;
}

/** @param {Channel} channel */
function channelHelp({ name, label, unit, limits = {} }) {
  const known = Object.entries(limits).filter(([, value]) => value !== null && value !== undefined);
  const said = known.map(([limit, value]) => `${limit.replaceAll('_', ' ')} ${value}`).join(', ');
  const box = document.createElement('div');
  box.className = 'cm-help';
  const head = document.createElement('code');
  head.textContent = `${name}${unit ? ` (${unit})` : ''}`;
  const text = document.createElement('p');
  text.textContent = [label, said].filter(Boolean).join('\n');
  box.append(head, text);
  return box;
}

/** The names that a script's metadata declares as parameters. @param {string} script */
export function declaredIn(script) {
  const table = /^# \[tool\.bioreactor\.parameters\]\n((?:#.*\n)*)/m.exec(script)?.[1] ?? '';
  return [...table.matchAll(/^# *([A-Za-z_]\w*) *=/gm)].map(([, name]) => name);
}

/**
 * A completion source.
 * @param {Module[]} modules @param {() => Channel[]} channels
 */
export function completeSdk(modules, channels) {
  const byName = new Map(modules.map((module) => [module.name, module]));
  const names = modules.map(({ name }) => name).join('|');
  const member = new RegExp(`\\b(${names})\\.\\w*$`);
  const argument = new RegExp(`\\b(${names})\\.(\\w+)\\([^()]*?\\b\\w*$`);
  const parts = { channel: /\breactor\.(?:read|set|dose)\(\s*["'][\w-]*$/, need: /^#.*\bneeds\s*=.*["'][\w-]*$/, parameter: /\b(?:experiment\.)?parameters\[["']\w*$/ };

  return (context) => {
    const line = context.state.doc.lineAt(context.pos);
    const before = line.text.slice(0, context.pos - line.from);
    const word = /[\w-]*$/.exec(before)?.[0] ?? '';
    const from = context.pos - word.length;
    if (parts.channel.test(before) || parts.need.test(before)) {
      const seen = new Map(channels().map((channel) => [channel.name, channel]));
      return {
        from,
        options: [...seen.values()].map((channel) => ({ label: channel.name, detail: channel.unit, info: () => channelHelp(channel), type: 'constant' })),
        validFor: /^[\w-]*$/,
      };
    }
    if (parts.parameter.test(before)) {
      return { from, options: declaredIn(context.state.doc.toString()).map((label) => ({ label, type: 'variable' })), validFor: /^\w*$/ };
    }
    const [, owner] = member.exec(before) ?? [];
    const module = byName.get(owner);
    if (module) {
      return {
        from: context.pos - (/\w*$/.exec(before)?.[0].length ?? 0),
        options: module.members.map((one) => ({ label: one.name, detail: one.signature, info: () => help(one, module.name), type: TYPE[one.kind], boost: one.kind === 'class' ? -10 : 10 })),
        validFor: /^\w*$/,
      };
    }
    const [, callee, called] = argument.exec(before) ?? [];
    const function_ = byName.get(callee)?.members.find(({ name }) => name === called);
    if (function_ && function_.arguments.length > 0 && (word !== '' || context.explicit)) {
      return {
        from: context.pos - (/\w*$/.exec(before)?.[0].length ?? 0),
        options: function_.arguments.map((name) => ({ label: `${name}=`, type: 'keyword', detail: called, boost: 20 })),
        validFor: /^\w*$/,
      };
    }
    return null;
  };
}

/**
 * Help for what stands under the pointer: a member of the SDK, or a channel in quotes.
 * @param {Module[]} modules @param {() => Channel[]} channels
 */
export function explain(modules, channels) {
  return (view, pos) => {
    const line = view.state.doc.lineAt(pos);
    for (const match of line.text.matchAll(/\b(\w+)\.(\w+)|["']([\w-]+)["']/g)) {
      const from = line.from + match.index;
      const to = from + match[0].length;
      if (pos < from || pos > to) continue;
      const [, owner, name, quoted] = match;
      const module = modules.find((one) => one.name === owner);
      const found = module?.members.find((one) => one.name === name);
      const channel = quoted && channels().find((one) => one.name === quoted);
      if (module && found) return { pos: from, end: to, create: () => ({ dom: help(found, module.name) }) };
      if (channel) return { pos: from, end: to, create: () => ({ dom: channelHelp(channel) }) };
    }
    return null;
  };
}
